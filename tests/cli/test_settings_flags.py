"""Flags of settings: every command that has one reads it."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import click
import pytest
from click.testing import CliRunner

from flowrunner.cli.lazy import LazyCommand
from flowrunner.cli.main import main
from flowrunner.settings import Settings

SETTINGS: Final = {field.name: field for field in fields(Settings)}
# What the commands take besides.
ARGUMENTS: Final = {
    "account mark-confirmed": ["ada@example.com"],
    "account reset-password": ["ada@example.com"],
    "backup": ["backup.zip"],
    "flow run": ["--local", "flow.yaml"],
    "keys rotate": ["master"],
    "copy": ["--to", "postgresql://localhost/other"],
    "restore": ["backup.zip"],
    "run": ["--local", "flow.yaml"],
    "validate": ["--stored"],
}
WRONG: Final = ("~no-such-user/data", "not a value of it")


def commands(command: click.Command, path: Sequence[str] = ()) -> Iterator[tuple[str, click.Command]]:
    command = command.load() if isinstance(command, LazyCommand) else command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from commands(command.commands[name], (*path, name))
    else:
        yield " ".join(path), command


def wrong_value_of(name: str) -> str | None:
    """Return a text that is no value of a setting; None if every text is one."""
    for text in WRONG:
        try:
            SETTINGS[name].metadata["parse"](text)
        except ValueError:
            return text
    return None


def flags() -> Iterator[Any]:
    for path, command in commands(main):
        for option in command.params:
            if isinstance(option, click.Option) and option.name in SETTINGS:
                wrong = wrong_value_of(option.name)
                if wrong is not None:
                    yield pytest.param(path, option.opts[-1], wrong, id=f"{path} {option.opts[-1]}")


@pytest.mark.parametrize(("path", "flag", "wrong"), list(flags()))
def test_a_command_reads_the_flags_of_its_settings_and_the_environment(
    path: str, flag: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    # Without this fault, a command that ignores its flag would begin its work.
    monkeypatch.setenv("FLOWRUNNER_SMTP_URL", "nothing")
    monkeypatch.chdir(tmp_path)

    done = CliRunner().invoke(main, [*path.split(), *ARGUMENTS.get(path, ()), flag, wrong])

    assert done.exit_code != 0
    assert f"{flag}: " in done.output, (done.output, done.exception)
    assert "FLOWRUNNER_SMTP_URL: " in done.output
    assert not list(tmp_path.iterdir())


def test_every_command_of_a_server_or_its_data_is_among_them() -> None:
    found = {str(param.id).rpartition(" --")[0] for param in flags()}

    assert found >= {
        "serve", "worker", "dev", "doctor", "config", "migrate", "backup", "restore", "copy", "prune", "pause",
        "unpause", "audit verify", "keys rotate",
    }  # fmt: skip


@pytest.mark.parametrize("command", [["serve"], ["dev", "--no-browser"]])
def test_a_user_without_a_home_directory_is_told_what_to_set(
    command: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "XDG_DATA_HOME", "FLOWRUNNER_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    # As containers have users that are in no list.
    monkeypatch.setattr("os.getuid", lambda: 987654)

    done = CliRunner().invoke(main, command)

    assert done.exit_code == 2
    assert "FLOWRUNNER_DATA_DIR: name a directory, because the user" in done.output
    assert done.output.endswith("has no home directory\n")
