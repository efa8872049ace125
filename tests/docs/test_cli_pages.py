"""The commands on the pages about the command line, run as written, with the output shown there."""

import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import pytest

from docs.pages import ROOT, first_words, section
from flowrunner.cli import main
from flowrunner.cli.common import CommonOption
from flowrunner.cli.lazy import LazyCommand
from flowrunner.language import flow_tests
from support.client import PASSWORD, Client
from support.preloaded import forked_command
from support.server import ADMIN_EMAIL, ADMIN_PASSWORD, clean_environment

# The server of the page, and the account of its reader.
ADDRESS: Final = "http://127.0.0.1:8080"
READER: Final = "ada@example.com"
# The slug of the page's workspace; other tests of the same server may have taken it.
TEAM: Final = "data-team"
BASH: Final = shutil.which("bash")
CLI: Final = ROOT / "docs" / "cli.md"
TESTING: Final = ROOT / "docs" / "testing-flows.md"
TUTORIAL: Final = ROOT / "docs" / "tutorial.md"
CONNECTING: Final = ROOT / "docs" / "connecting.md"
TROUBLESHOOTING: Final = ROOT / "docs" / "troubleshooting.md"
# A flow has the name of its file above it, and a script the exit code that it ends with, if that is not 0.
_PARTS: Final = re.compile(r"^(?:<!-- (?:file|exits): (\S+) -->\n)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.skipif(BASH is None, reason="needs bash")


@dataclass(frozen=True)
class Step:
    """A script of a page, with its exit code and the output shown below it."""

    script: str
    code: int
    output: str | None
    is_output_whole: bool


def files_of(page: Path) -> dict[str, str]:
    found = {name: text for name, language, text in _PARTS.findall(page.read_text()) if language == "yaml"}
    assert "" not in found, "each flow says what its file is called"
    return found


def steps_of(page: Path) -> Iterator[Step]:
    parts = [part for part in _PARTS.findall(page.read_text()) if part[1] != "yaml"]
    for (code, language, text), (_, below, output) in zip(parts, [*parts[1:], ("", "", "")], strict=True):
        if language == "sh":
            # Of what programs read, the page leaves out what people are told besides.
            yield Step(text, int(code or 0), output if below in ("text", "json") else None, below == "text")


def shell(script: str, at: Path, **variables: str) -> "subprocess.Popen[str]":
    """Start a script in which `flowrunner` is a command; standard output and error are one stream."""
    command = forked_command()
    here = f'flowrunner() {{ "{command.path}" "$@"; }}\n'
    environment = clean_environment(
        HOME=str(at), XDG_CONFIG_HOME=str(at), XDG_CACHE_HOME=str(at), NO_COLOR="1",
        FLOWRUNNER_ADMIN_EMAIL=ADMIN_EMAIL, FLOWRUNNER_ADMIN_PASSWORD=ADMIN_PASSWORD, **variables,
    )  # fmt: skip
    return subprocess.Popen(
        [str(BASH), "-c", here + script], cwd=at, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, pass_fds=[command.descriptor],
    )  # fmt: skip


def fits(said: str, seen: str) -> bool:
    # Columns are as wide as what is in them, such as the address of the server.
    said, seen = (re.sub(r"(?<=\S) {2,}", "  ", text) for text in (said, seen))
    return re.fullmatch("[^\n]*".join(map(re.escape, said.split("…"))), seen) is not None


# A page is a session of a dozen processes: a busy machine may need its time for them.
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", [CLI, TESTING, TUTORIAL, CONNECTING, TROUBLESHOOTING], ids=lambda page: page.name)
def test_every_command_does_what_the_page_says(page: Path, admin: Client, tmp_path: Path) -> None:
    admin.post("/api/v1/accounts", {"name": "Ada", "email": READER, "password": PASSWORD, "email_confirmed": True})
    for name, text in files_of(page).items():
        (tmp_path / name).write_text(text)
    commands, team = 0, f"data-{secrets.token_hex(2)}"
    for step in steps_of(page):
        commands += step.script.count("flowrunner ")
        if "flowrunner serve" in step.script:
            serve(step.script, tmp_path)
            continue
        process = shell(step.script.replace(ADDRESS, admin.url).replace(TEAM, team), tmp_path)
        seen, _ = process.communicate(timeout=60)
        seen = seen.replace(admin.url, ADDRESS).replace(team, TEAM)
        assert process.returncode == step.code, f"{step.script}\n{seen}"
        if step.output is not None:
            assert fits(step.output + ("" if step.is_output_whole else "…\n"), seen), f"{step.script}\n{seen}"
    assert commands >= 2


def serve(script: str, at: Path) -> None:
    """Start the server as on the page, on a free port, wait until it has started, and stop it."""
    # The shell has the signals, unless the command takes its place.
    process = shell("exec " + script.replace("flowrunner", f'"{forked_command().path}"').replace("8080", "0"), at)
    assert process.stdout is not None
    for line in process.stdout:
        if "server.started" in line:
            break
    else:
        pytest.fail("it did not start")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.parametrize("name", ["validate", "test", "run"])
def test_the_options_of_each_command_are_described(name: str) -> None:
    command = main.commands[name]
    assert isinstance(command, LazyCommand)
    options = {
        flag
        for option in command.load().params
        if isinstance(option, click.Option) and not isinstance(option, CommonOption)
        for flag in (option.opts if len(option.opts) < 3 else option.opts[:2])
    }

    assert set(first_words(section(CLI, name))) == options


def test_every_command_is_listed() -> None:
    listed = re.findall(r"^\| \[`flowrunner ([\w-]+)`\]", CLI.read_text(), re.MULTILINE)

    assert sorted(listed) == sorted(main.commands)


def test_the_keys_of_a_test_are_described() -> None:
    assert tuple(first_words(section(TESTING, "A test"))) == flow_tests.TEST_KEYS
    assert tuple(first_words(section(TESTING, "What to expect"))) == flow_tests.EXPECT_KEYS


def test_the_exit_codes_are_the_ones_that_the_commands_know() -> None:
    described = {int(code) for code in re.findall(r"^\| (\d+) \|", section(CLI, "Exit codes"), re.MULTILINE)}
    source = "".join(path.read_text() for path in (ROOT / "src" / "flowrunner" / "cli").glob("*.py"))
    known = {int(code) for code in re.findall(r"^[A-Z_]+: Final = (\d{1,3})$", source, re.MULTILINE)}

    assert described <= known
    assert set(range(10)) | {130} == described
