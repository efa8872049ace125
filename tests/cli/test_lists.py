"""How far lists go: fifty entries by default, and never without a word about the others."""

import re
from collections.abc import Iterator
from datetime import timedelta

import click
import pytest

from cli.servers import User
from flowrunner.cli.lazy import LazyCommand
from flowrunner.cli.main import main
from flowrunner.cli.output import show
from flowrunner.cli.text import fit, relative, short_size, width
from support.databases import NOON

NOTICE = "Only the first 50 entries are listed: -n NUMBER lists more, and --all lists all\n"
PLAIN = "nodes:\n  a: {type: return, params: {value: 1}}\n"
ROUNDS = """
metadata: {name: rounds}
nodes:
  each:
    type: foreach
    params: {items: "${Array.from({length: 1100}, (_, i) => i)}"}
    nodes: {inner: {type: transform, params: {value: 1}}}
"""


@pytest.fixture(scope="module", autouse=True)
def flows(user: User) -> None:
    for number in range(51):
        user.client.new_flow(PLAIN, name=f"f{number:02}", tags=["fifty"] if number < 50 else [])


def test_a_list_that_ends_early_says_so_and_only_there(user: User) -> None:
    listed = user("flow", "list", "-o", "name")
    quiet = user("flow", "list", "-o", "name", "-q")
    counted = user("flow", "list", "--query", "length(@)")
    table = user("flow", "list", "--fields", "name")

    assert len(listed.stdout.splitlines()) == len(quiet.stdout.splitlines()) == 50
    assert listed.stderr == counted.stderr == table.stderr == NOTICE
    assert quiet.stderr == ""
    assert counted.stdout == "50\n"
    assert table.stdout.splitlines() == ["NAME", *(f"f{number:02}" for number in range(50))]


@pytest.mark.parametrize("output", ["table", "json", "yaml", "ndjson"])
def test_a_field_that_there_is_not_is_a_usage_error_that_names_the_fields(user: User, output: str) -> None:
    listed = user("flow", "list", "--fields", "name,revison", "-o", output, code=2)
    one = user("flow", "get", "f00", "--fields", "revison.x", "-o", output, code=2)

    for done, field in ((listed, "revison"), (one, "revison.x")):
        assert done.stdout == ""
        assert f"--fields: there is no field '{field}'; there are id, " in done.stderr
        assert ", tags, revision" in done.stderr


def test_a_field_that_has_no_value_in_an_answer_is_empty(user: User) -> None:
    assert user.json("flow", "get", "f00", "--fields", "name,failure,duration") == {
        "name": "f00", "failure": None, "duration": None,
    }  # fmt: skip
    assert user("flow", "list", "--tag", "nothing", "--fields", "any", "-o", "json").stdout == "[]\n"


def test_a_list_that_is_whole_or_as_long_as_was_asked_for_says_nothing(user: User) -> None:
    whole, fifty = user("flow", "list", "--all", "-o", "name"), user("flow", "list", "--tag", "fifty", "-o", "name")
    chosen, more = user("flow", "list", "-n", "3", "-o", "name"), user("flow", "list", "-n", "60", "-o", "name")

    assert [len(done.stdout.splitlines()) for done in (whole, fifty, chosen, more)] == [51, 50, 3, 51]
    assert [done.stderr for done in (whole, fifty, chosen, more)] == [""] * 4


def test_all_contradicts_a_number(user: User) -> None:
    assert "--limit and --all contradict each other" in user("flow", "list", "--all", "-n", "5", code=2).stderr


@pytest.mark.parametrize("number", ["1_0", "٣", "+5", " 5", "5 "])
def test_a_number_has_ascii_digits_alone(user: User, number: str) -> None:
    assert f"'{number}' is not a whole number" in user("flow", "list", "-n", number, code=2).stderr
    assert f"'{number}' is not a whole number" in user("flow", "restore", "f00", number, code=2).stderr


def test_all_goes_through_every_page(user: User) -> None:
    id = user.client.run(user.client.new_flow(ROUNDS))
    user.client.ended(id)

    steps = user("executions", "steps", id, "--all", "-o", "name")

    assert len(set(steps.stdout.splitlines())) == len(steps.stdout.splitlines()) == 1101
    assert steps.stderr == ""
    assert user("executions", "steps", id, "-o", "name").stderr == NOTICE


def test_every_list_has_both_options() -> None:
    limited = {name: command for name, command in commands(main, "") if "limit" in {p.name for p in command.params}}

    assert {name for name, command in limited.items() if "is_all" not in {p.name for p in command.params}} == set()
    assert {
        "account list", "audit list", "callback deliveries", "callback list", "job list", "executions list",
        "executions steps", "flow list", "flow revisions", "token list", "trigger deliveries", "trigger list",
        "workspace invitations list", "workspace list", "workspace members list",
    } == limited.keys()  # fmt: skip


def commands(group: click.Group, path: str) -> Iterator[tuple[str, click.Command]]:
    for name, found in group.commands.items():
        command = found.load() if isinstance(found, LazyCommand) else found
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "now"), (-9.4, "in 9 s"), (9.6, "10 s ago"), (59.7, "1 min ago"), (-119, "in 1 min"),
        (3599.4, "59 min ago"), (3599.6, "1 h ago"), (-47 * 3600, "in 1 d"), (40 * 86400, "40 d ago"),
    ],
)  # fmt: skip
def test_a_distance_in_time_is_rounded_as_in_the_web_interface(seconds: float, shown: str) -> None:
    assert relative((NOON - timedelta(seconds=seconds)).isoformat(), NOON) == shown


def test_a_table_shows_values_as_people_read_them(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"id": "a", "duration": 1500, "size": 2048, "tags": ["b", "c"], "disabled": False, "error": None}
    with click.Context(click.Command("list")):
        show([row, {**row, "duration": 90.4, "disabled": True, "tags": []}])

    assert [re.split(" {2,}", line.rstrip()) for line in capsys.readouterr().out.splitlines()] == [
        ["ID", "DURATION", "SIZE", "TAGS", "DISABLED", "ERROR"],
        ["a", "1.5 s", "2 KiB", "b, c", "no", "-"],
        ["a", "90 ms", "2 KiB", "-", "yes", "-"],
    ]


@pytest.mark.parametrize(
    ("text", "columns", "shown"),
    [
        ("order", 5, "order"), ("orders", 5, "orde…"), ("Größe", 5, "Größe"), ("Größen", 5, "Größ…"),
        ("注文番号", 8, "注文番号"), ("注文番号7", 8, "注文番…"), ("注文番号", 6, "注文…"),
        ("e\u0301e\u0301e\u0301", 2, "e\u0301…"), ("e\u0301e\u0301", 2, "e\u0301e\u0301"), ("", 0, ""), ("a", 0, "…"),
    ],
)  # fmt: skip
def test_a_text_is_cut_to_the_columns_that_there_are(text: str, columns: int, shown: str) -> None:
    assert fit(text, columns) == shown
    assert width(shown) <= max(columns, 1)


# An approval's question may have megabytes, in any script: cut by one character after the other it took hours.
@pytest.mark.timeout(60)
def test_s61_a_list_cuts_texts_of_any_length(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    with click.Context(click.Command("list")):
        show([{"node": "ask", "prompt": "é" * 1_000_000, "step": "注" * 1_000_000}], "node prompt step")

    title, line = capsys.readouterr().out.splitlines()
    assert title.split() == ["NODE", "PROMPT", "STEP"]
    assert re.fullmatch("ask   é+…  注+…", line)
    assert width(line) <= 60


@pytest.mark.parametrize(
    ("size", "shown"), [(1023, "1023 B"), (1024, "1 KiB"), (1024**2, "1 MiB"), (1024**3 * 3 // 2, "1.5 GiB")]
)
def test_a_size_has_the_largest_unit_that_it_reaches(size: int, shown: str) -> None:
    assert short_size(size) == shown


@pytest.mark.parametrize("field", ["tokem", "value", "diff"])
def test_a_field_that_the_answer_does_not_have_is_told_before_a_token_is_created(user: User, field: str) -> None:
    done = user("token", "create", "lost", "--scope", "read", "--fields", field, code=2)

    assert f"--fields: there is no field '{field}', and nothing was changed" in done.stderr
    assert "lost" not in user("token", "list").stdout
