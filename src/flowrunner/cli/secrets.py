"""Secrets from the environment and files. They are never arguments, which other users of the machine can see."""

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from flowrunner.cli.common import why_unreadable

_LINE: Final = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)")
_QUOTED: Final = re.compile(r"""(['"])(.*?)\1\s*(#.*)?""")
_COMMENT: Final = re.compile(r"(^|\s+)#.*")


def given_secrets(path: str | None, environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the secrets of the environment and of a file, which takes precedence. Raises: click.UsageError."""
    from flowrunner.settings import SECRET_PREFIX

    found = {
        name.removeprefix(SECRET_PREFIX): value for name, value in environ.items() if name.startswith(SECRET_PREFIX)
    }
    if path is not None:
        found |= read_env(Path(path), "--secrets: ")
    return {name: value for name, value in found.items() if name}


def read_env(path: Path, option: str = "") -> Mapping[str, str]:
    """Return the variables of a .env file: `NAME=value`, `NAME="value"`, comments.

    Args:
        option: Beginning of the messages of errors.

    Raises:
        click.UsageError: If the file cannot be read, others can read it, or a line has another form.
    """
    try:
        # Editors of Windows put a mark of the order of bytes before the first name.
        with path.open(encoding="utf-8-sig") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{option}{path} cannot be read: {why_unreadable(error)}") from None
    if mode & 0o077:
        raise click.UsageError(f"{option}others can read {path} (mode {mode:04o}). Close it: chmod 600 {path}")
    found = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            # The message does not quote the line, which may hold a secret.
            raise click.UsageError(f"{option}line {number} of {path} is not NAME=value")
        found[match[1]] = _value(match[2])
    return found


def _value(written: str) -> str:
    quoted = _QUOTED.fullmatch(written)
    return quoted[2] if quoted is not None else _COMMENT.sub("", written)
