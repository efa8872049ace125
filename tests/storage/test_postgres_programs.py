"""The programs of PostgreSQL that make and restore backups: what they are given, and what is told of them."""

from pathlib import Path

import pytest

from flowrunner.domain.errors import FlowRunnerError
from flowrunner.storage.postgres.backup import _run


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program on the path that prints its arguments and the password of its environment."""
    path = tmp_path / "pg_dump"
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "password=$PGPASSWORD"\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("PGPASSWORD", raising=False)
    return path


async def test_a_password_is_no_argument_which_every_user_of_the_machine_can_read(program: Path) -> None:
    told = (await _run("pg_dump", "postgresql://u:se%40cret@h:5/x?sslmode=require", "--format", "custom")).splitlines()

    assert told[0] == "--dbname"
    assert "cret" not in "".join(told[:-1])
    assert {"--format", "custom"} <= set(told[:-1])
    assert told[-1] == "password=se@cret"


async def test_without_a_password_none_is_set(program: Path) -> None:
    assert (await _run("pg_dump", "postgresql://u@h/x")).splitlines()[-1] == "password="
    assert (await _run("pg_dump", None, "--version")).splitlines() == ["--version", "password="]


@pytest.fixture
def failing(program: Path) -> None:
    program.write_text("#!/bin/sh\necho 'no such table' >&2\nexit 3\n")


@pytest.mark.usefixtures("failing")
async def test_a_program_that_fails_or_is_missing_is_told() -> None:
    with pytest.raises(FlowRunnerError, match=r"^pg_dump has failed: no such table$"):
        await _run("pg_dump", None)
    with pytest.raises(FlowRunnerError, match="pg_nothing is needed for a PostgreSQL database, and is not installed"):
        await _run("pg_nothing", None)
