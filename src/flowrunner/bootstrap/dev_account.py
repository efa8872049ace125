"""The account of `flowrunner dev`, which is kept in a file of its data directory."""

import contextlib
import json
import os
import secrets
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from flowrunner.security.keys import explain_unwritable, open_data_dir, write_private

FILE: Final = "dev-account.json"
_EMAIL: Final = "dev@example.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class DevAccount:
    """The first admin of a server for development.

    Attributes:
        token: Its API token; empty before there is one.
    """

    email: str
    password: str
    token: str = ""


def open_dev_account(data_dir: Path) -> DevAccount:
    """Return the account of the data directory, and create both if they are new. Raises: UnsafeDataDir."""
    open_data_dir(data_dir)
    path = data_dir / FILE
    try:
        document = json.loads(path.read_text())
        return DevAccount(**{name: str(document[name]) for name in ("email", "password", "token")})
    except FileNotFoundError:
        _create(path, DevAccount(email=_EMAIL, password=secrets.token_urlsafe(16)))
        return open_dev_account(data_dir)
    except (ValueError, KeyError, TypeError, OSError):
        # The server finds out whether the new password is the account's.
        path.unlink(missing_ok=True)
        return open_dev_account(data_dir)


def with_token(data_dir: Path, account: DevAccount, token: str) -> DevAccount:
    """Keep the token in the file, and return the account with it."""
    kept = replace(account, token=token)
    (data_dir / FILE).unlink(missing_ok=True)
    _write(data_dir / FILE, kept)
    return kept


def _create(path: Path, account: DevAccount) -> None:
    """Write the file, unless another process does so at the same time."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    _write(draft, account)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def _write(path: Path, account: DevAccount) -> None:
    with explain_unwritable(path):
        write_private(path, json.dumps(asdict(account), indent=2) + "\n")
