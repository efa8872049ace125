"""Presence of a database file, as far as this user can see."""

from pathlib import Path

from flowrunner.storage.migrations import UnusableDatabase


def is_there(path: Path) -> bool:
    """Return whether the file exists. Raises: UnusableDatabase if this user may not look into its directory."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        raise UnusableDatabase(
            f"{path.parent} cannot be read: run the command as the user that the server runs as"
        ) from None
    return True
