"""What PostgreSQL's own programs are given."""

import os
from pathlib import Path
from typing import Final

import pytest

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.storage.postgres.backup import dump

pytestmark = pytest.mark.only("postgres")

# `pg_dump` that writes down what it was given.
NOTING: Final = """#!/bin/sh
printf '%s\\n' "$PGPASSWORD" "$@" > "{found}"
exit 1
"""


@pytest.mark.parametrize(
    ("password", "parameters"),
    [
        (":one%2Fword", ""),
        ("", "?password=one%2Fword"),
        ("", "?sslmode=disable&password=another&pass%77ord=one/word"),
        (":one%2Fword", "?password=another"),
    ],
)
async def test_no_argument_of_a_program_has_the_password(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str, parameters: str
) -> None:
    """Every user of the machine can read arguments."""
    program, found = tmp_path / "pg_dump", tmp_path / "found"
    program.write_text(NOTING.format(found=found))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    with pytest.raises(FlowRunnerError, match="pg_dump has failed"):
        await dump(path.replace("@", f"{password}@") + parameters, tmp_path / "dump")

    given, *arguments = found.read_text().splitlines()
    assert given == "one/word"
    assert [argument for argument in arguments if "word" in argument or "another" in argument] == []
    assert any(argument.startswith("postgresql://flowrunner@") for argument in arguments)


async def test_the_passphrase_of_a_key_is_refused(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the environment gives it to a program."""
    program, found = tmp_path / "pg_dump", tmp_path / "found"
    program.write_text(NOTING.format(found=found))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    with pytest.raises(FlowRunnerError, match=r"sslpassword.*without a passphrase"):
        await dump(f"{path}?ssl%70assword=word", tmp_path / "dump")

    assert not found.exists()
