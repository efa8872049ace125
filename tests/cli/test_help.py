"""Output of `--help`."""

import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from flowrunner.cli import main
from flowrunner.cli.lazy import LazyCommand


def commands(group: click.Group, around: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield around, group
    for name, entry in group.commands.items():
        command = entry.load() if isinstance(entry, LazyCommand) else entry
        if isinstance(command, click.Group):
            yield from commands(command, (*around, name))
        else:
            yield (*around, name), command


ALL = list(commands(main))


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) or "flowrunner" for path, _ in ALL])
def test_every_command_says_what_it_does_and_what_each_option_means(
    path: tuple[str, ...], command: click.Command
) -> None:
    said = CliRunner().invoke(main, [*path, "--help"], prog_name="flowrunner")

    assert said.exit_code == 0
    assert said.output == CliRunner().invoke(main, [*path, "-h"], prog_name="flowrunner").output
    assert said.output.startswith(f"Usage: {' '.join(('flowrunner', *path))} ")
    assert max(map(len, said.output.splitlines())) <= 80
    assert "..." not in re.sub(r"\S+\.\.\.", "", said.output), "a text is cut off"
    assert len(said.output.splitlines()) <= 40, "it does not fit a screen"
    assert re.search(r"^  Examples?:\n(    flowrunner .*\n)+", said.output, re.MULTILINE)
    assert command.help
    assert [option.name for option in command.params if isinstance(option, click.Option) and not option.help] == []


@pytest.mark.parametrize("path", [path for path, command in ALL if not isinstance(command, click.Group)], ids=" ".join)
def test_what_is_given_wrongly_is_answered_with_the_usage(path: tuple[str, ...]) -> None:
    said = CliRunner().invoke(main, [*path, "--no-such-option"], prog_name="flowrunner")

    assert said.exit_code == 2
    assert f"Try 'flowrunner {' '.join(path)} --help' for help." in said.stderr
    assert "No such option" in said.stderr


@pytest.mark.parametrize("command", ["migrate", "copy", "keys rotate", "audit verify"])
def test_what_runs_without_a_server_takes_no_settings_of_one(command: str) -> None:
    said = CliRunner().invoke(main, [*command.split(), "--help"])

    assert "--data-dir" in said.output
    assert "--port" not in said.output


@pytest.mark.parametrize(("word", "meant"), [("deploy", "apply"), ("start", "serve"), ("users", "account")])
def test_a_command_is_found_by_its_name_elsewhere(word: str, meant: str) -> None:
    result = CliRunner().invoke(main, [word, "flows/"])

    assert (result.exit_code, meant in main.commands) == (2, True)
    assert f"No such command '{word}'. Did you mean '{meant}'?" in result.output
