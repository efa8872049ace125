"""Contexts: servers by name, each with a workspace and the token of a login, in a file of the user's."""

import contextlib
import importlib.util
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

import click

from flowrunner.cli.common import CommandFailed
from flowrunner.cli.exits import NOT_FOUND

try:
    import fcntl
except ImportError:  # another system than POSIX
    fcntl = None  # type: ignore[assignment]

_SERVICE: Final = "flowrunner"
_ROOM_BYTES: Final = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """A server that the user works with.

    Attributes:
        account: E-mail address of the account that has logged in.
        token: Its token, unless that is in the keyring.
        is_in_keyring: The keyring of the system has the token.
        asked_at: The moment, in seconds since 1970, at which the server was last asked for a token.
        refresh_at: The moment after which the token of a login is exchanged for a new one.
    """

    url: str
    workspace: str | None = None
    account: str | None = None
    token: str | None = field(default=None, repr=False)
    is_in_keyring: bool = False
    asked_at: float | None = None
    refresh_at: float | None = None


@dataclass(slots=True)
class Contexts:
    """All contexts, and the name of the one that commands use."""

    current: str | None = None
    by_name: dict[str, Context] = field(default_factory=dict)

    def get(self, name: str) -> Context:
        """Return a context with its token. Raises: click.UsageError."""
        self.check(name)
        context = self.by_name[name]
        return replace(context, token=_from_keyring(name)) if context.is_in_keyring else context

    def check(self, name: str) -> None:
        """Raises: CommandFailed if there is no such context."""
        if name not in self.by_name:
            known = ", ".join(self.by_name) or "none yet"
            raise CommandFailed(
                f"There is no context {name!r}; there are: {known}. Add one: flowrunner context add", NOT_FOUND
            )

    def put(self, name: str, context: Context) -> None:
        """Set a context; its token goes to the keyring if there is one."""
        is_kept = context.token is not None and _to_keyring(name, context.token)
        self.by_name[name] = replace(context, token=None if is_kept else context.token, is_in_keyring=is_kept)

    def forget_token(self, name: str) -> None:
        if self.by_name[name].is_in_keyring:
            _drop_from_keyring(name)
        self.by_name[name] = replace(
            self.by_name[name], token=None, is_in_keyring=False, asked_at=None, refresh_at=None, account=None
        )

    def save(self) -> None:
        """Write the file, which only the user can read, as a whole."""
        path = _path()
        text = json.dumps(
            {"current": self.current, "contexts": {name: _written(one) for name, one in self.by_name.items()}}, indent=2
        )
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        with _writing(path):
            temporary.unlink(missing_ok=True)
            try:
                with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                    file.write(f"{text}\n")
                    file.flush()
                    # Else a crash of the machine could leave an empty file in place of the old one.
                    os.fsync(file.fileno())
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)  # it may have a token
                raise


def load_contexts() -> Contexts:
    """Return the contexts of the user. Raises: click.UsageError if the file is not one, or others can read it."""
    path = _path()
    try:
        with path.open(encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if os.name == "posix" and mode & 0o077:
                raise click.UsageError(f"Others can read {path}, which has tokens (mode {mode:04o}): chmod 600 {path}")
            found = json.load(file)
        known = {one.name for one in fields(Context)}
        return Contexts(
            found["current"],
            {name: Context(**{k: v for k, v in one.items() if k in known}) for name, one in found["contexts"].items()},
        )
    except FileNotFoundError:
        return Contexts()
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise click.UsageError(f"{path} is not a file of contexts: delete it, and log in again") from None


def check_room() -> None:
    """Raises: click.UsageError: Contexts could not be stored."""
    path = _path()
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    with _writing(path):
        try:
            temporary.write_text(" " * _ROOM_BYTES)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def changing_contexts() -> Iterator[Contexts]:
    """Yield the contexts as they are stored now, and store the changes unless there is an error.

    Other commands wait meanwhile, where the system has such locks: none stores a token that another has exchanged.

    Raises: click.UsageError as `load_contexts` does.
    """
    with _locked():
        contexts = load_contexts()
        before = Contexts(contexts.current, dict(contexts.by_name))
        yield contexts
        if contexts != before:
            contexts.save()


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    if fcntl is None:
        yield
        return
    path = _path().with_suffix(".lock")
    with _writing(path):
        file = path.open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Make the directory of a file that is written within. Raises: click.UsageError: It cannot be written."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}") from None


def _path() -> Path:
    return Path(click.get_app_dir("flowrunner"), "contexts.json")


def _written(context: Context) -> dict[str, Any]:
    return {name: value for name, value in asdict(context).items() if value not in (None, False)}


def _to_keyring(name: str, token: str) -> bool:
    """Return whether the keyring has the token now: the library may be absent, and a server may have no keyring."""
    if importlib.util.find_spec("keyring") is None:
        return False
    import keyring.errors

    try:
        keyring.set_password(_SERVICE, name, token)
        return bool(keyring.get_password(_SERVICE, name) == token)
    except (keyring.errors.KeyringError, OSError):
        return False


def _from_keyring(name: str) -> str | None:
    if importlib.util.find_spec("keyring") is None:
        raise click.UsageError("The token is in the keyring: install the package 'keyring', or log in again")
    import keyring.errors

    try:
        return keyring.get_password(_SERVICE, name)
    except (keyring.errors.KeyringError, OSError) as error:
        raise click.UsageError(f"The keyring did not return the token of the context {name!r}: {error}") from None


def _drop_from_keyring(name: str) -> None:
    if importlib.util.find_spec("keyring") is None:
        return
    import keyring.errors

    with contextlib.suppress(keyring.errors.KeyringError, OSError):
        keyring.delete_password(_SERVICE, name)
