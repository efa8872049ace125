"""The server, the token and the workspace that a command uses: which of options, variables and contexts counts."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click
import pytest

from flowrunner.cli.common import common
from flowrunner.cli.connection import DEFAULT_URL, Target, find_target, open_client
from flowrunner.cli.contexts import Context, Contexts
from flowrunner.client import Client

HOME: Final = Context(url="https://home.example", workspace="team", token="stored-home")
WORK: Final = Context(url="https://work.example", workspace="ops", token="stored-work")
ELSEWHERE: Final = "https://elsewhere.example"
AT_HOME: Final = Target(url=HOME.url, token="stored-home", workspace="team", name="home", is_stored=True)
AT_WORK: Final = Target(url=WORK.url, token="stored-work", workspace="ops", name="work", is_stored=True)


def target(options: Mapping[str, Any], *, current: str | None = "home") -> Target:
    contexts = Contexts(current=current, by_name={"home": HOME, "work": WORK})
    with click.Context(click.Command("whoami")):
        for name, value in options.items():
            setattr(common(), name, value)
        return find_target(contexts)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("URL", "SERVER", "TOKEN", "TOKEN_FILE", "CONTEXT", "WORKSPACE"):
        monkeypatch.delenv(f"FLOWRUNNER_{name}", raising=False)
    (tmp_path / "token").write_text("of-a-file\n")
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("options", "variables", "found"),
    [
        ({}, {}, AT_HOME),
        ({"context": "work"}, {}, AT_WORK),
        ({}, {"CONTEXT": "work"}, AT_WORK),
        ({"context": "home"}, {"CONTEXT": "work"}, AT_HOME),
        # A context that is named gets its own token alone.
        ({"context": "work"}, {"TOKEN": "t", "URL": ELSEWHERE}, AT_WORK),
        ({}, {"CONTEXT": "work", "TOKEN": "t", "URL": ELSEWHERE}, AT_WORK),
        ({"context": "work", "token": "@token"}, {}, replace(AT_WORK, token="of-a-file", is_stored=False)),
        # An address gets a stored token only if it is that of a context.
        ({"url": ELSEWHERE}, {}, Target(url=ELSEWHERE)),
        ({}, {"URL": ELSEWHERE}, Target(url=ELSEWHERE)),
        ({}, {"SERVER": ELSEWHERE}, Target(url=ELSEWHERE)),
        ({"url": ELSEWHERE}, {"CONTEXT": "work"}, Target(url=ELSEWHERE)),
        ({"url": ELSEWHERE}, {"URL": WORK.url}, Target(url=ELSEWHERE)),
        ({}, {"URL": ELSEWHERE, "SERVER": WORK.url}, Target(url=ELSEWHERE)),
        ({"url": f"{WORK.url}/"}, {}, AT_WORK),
        ({}, {"URL": WORK.url}, AT_WORK),
        # Nor does a token that is given get the workspace of a context that is not named.
        ({"url": WORK.url}, {"TOKEN": "t"}, Target(url=WORK.url, token="t")),
        ({}, {"URL": ELSEWHERE, "TOKEN": "t"}, Target(url=ELSEWHERE, token="t")),
        ({}, {"TOKEN": "t"}, replace(AT_HOME, token="t", is_stored=False)),
        ({}, {"TOKEN_FILE": "token", "TOKEN": "t"}, replace(AT_HOME, token="of-a-file", is_stored=False)),
        ({"token": "@token"}, {"TOKEN": "t"}, replace(AT_HOME, token="of-a-file", is_stored=False)),
        ({"workspace": "a"}, {"WORKSPACE": "b"}, replace(AT_HOME, workspace="a")),
        ({}, {"WORKSPACE": "b"}, replace(AT_HOME, workspace="b")),
        ({"context": "work"}, {"WORKSPACE": "b"}, replace(AT_WORK, workspace="b")),
    ],
)
def test_options_count_before_variables_and_these_before_contexts(
    options: Mapping[str, Any], variables: Mapping[str, str], found: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"FLOWRUNNER_{name}", value)

    assert target(options) == found


def test_without_a_current_context_the_server_of_this_machine_is_meant() -> None:
    assert target({}, current=None) == Target(url=DEFAULT_URL)


def test_of_two_contexts_of_one_server_the_current_one_counts() -> None:
    contexts = Contexts(current="second", by_name={"first": HOME, "second": replace(HOME, token="of-the-second")})
    with click.Context(click.Command("whoami")):
        common().url = HOME.url

        assert find_target(contexts).token == "of-the-second"


@pytest.mark.parametrize(
    ("options", "fault"),
    [({"context": "home", "url": HOME.url}, "name a server each"), ({"context": "other"}, "no context 'other'")],
)
def test_a_server_that_is_named_twice_or_not_known_is_an_error(options: Mapping[str, Any], fault: str) -> None:
    with pytest.raises(click.ClickException, match=fault):
        target(options)


@pytest.mark.parametrize(("given", "seconds"), [(None, 40.0), ("90s", 90.0)])
def test_a_command_asks_where_and_as_it_was_told(
    monkeypatch: pytest.MonkeyPatch, given: str | None, seconds: float
) -> None:
    opened: list[Any] = []

    def open_core(self: object, url: str, token: str | None, **options: Any) -> None:
        opened.append((url, token, options))

    monkeypatch.setattr(Client, "__init__", open_core)
    with click.Context(click.Command("whoami")):
        common().http_timeout = given
        open_client(AT_WORK)

    # Somebody waits for a command: it gives up sooner than a program would.
    options = {"workspace": "ops", "timeout": seconds, "retry_seconds": 3.0, "user_agent": "flowrunner-cli"}
    assert opened == [(WORK.url, "stored-work", options)]
