"""Texts of commands for people, by their values."""

from pathlib import Path
from typing import Any

import click
import pytest

from flowrunner.cli.advice import advice_on, advice_on_fault
from flowrunner.cli.common import CommandFailed, Common, ask, common
from flowrunner.cli.documents import _flow_files
from flowrunner.cli.importing.documents import Imported, write_all
from flowrunner.cli.output import show
from flowrunner.cli.server_command import _is_said
from flowrunner.cli.text import short_duration
from flowrunner.client.errors import ApiError


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"), (0.25, "250 ms"), (0.999, "999 ms"), (1, "1.0 s"), (9.94, "9.9 s"), (10, "10 s"), (59, "59 s"),
        (60, "1 min"), (3599, "60 min"), (3600, "1 h"), (86399, "24 h"), (86400, "1 d"), (40 * 86400, "40 d"),
    ],
)  # fmt: skip
def test_a_duration_has_one_unit(seconds: float, shown: str) -> None:
    assert short_duration(seconds) == shown


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (ApiError(409, "conflict", "m"), None),
        (ApiError(403, "forbidden", "The API token lacks the scope 'write'"), "scope"),
        (ApiError(503, "unavailable", "m", retry_after=2.0), "repeat the command after 2 s"),
        (ApiError(503, "unavailable", "m", hint="look at the log"), "look at the log"),
        (ApiError(429, "too_many", "m", hint="slow down"), "slow down"),
    ],
)
def test_an_error_has_the_advice_that_is_known(error: ApiError, advice: str | None) -> None:
    found = advice_on(error)

    assert found == advice if advice != "scope" else "scope" in str(found)


def test_the_hint_of_a_fault_is_shown_unless_it_is_none_or_about_requests() -> None:
    hints: list[Any] = [{"hint": "write x"}, {}, {"hint": None}, {"hint": 7}, {"hint": "use flow_id"}]

    assert [advice_on_fault(hint) for hint in hints] == [
        "write x", None, None, None, "give the id of the flow: 'flowrunner flow list' has it"]  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "message", "is_said"),
    [
        ({"path": "name", "message": "is missing"}, "name: is missing", True),
        ({"path": "name", "message": "is missing"}, "is missing", True),
        ({"path": "name", "message": "is missing", "line": 3, "column": 1}, "is missing", False),
        ({"path": "name", "message": "is missing", "line": 3, "column": 1}, "3:1: name: is missing", True),
        ({"path": "name", "message": "is missing"}, "other", False),
    ],
)
def test_a_fault_is_not_said_twice(fault: dict[str, Any], message: str, is_said: bool) -> None:
    assert _is_said(fault, message) is is_said


def test_directories_of_others_and_hidden_files_hold_no_flows(tmp_path: Path) -> None:
    for name in ("a.yaml", "b/c.yml", "b/d.json", "b/e.txt", ".f.yaml", ".git/g.yaml", "node_modules/h.yaml",
                 "b/node_modules/i/j.yaml", "modules/k.yaml"):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("nodes: {}")

    found = [str(path.relative_to(tmp_path)) for path in _flow_files(tmp_path)]

    assert sorted(found) == ["a.yaml", "b/c.yml", "modules/k.yaml"]
    assert found[0] == "a.yaml"


@pytest.mark.parametrize(
    ("output", "fields", "printed"),
    [
        (None, None, "a  1\nb  -\n"), (None, "c,a", "c  x\na  1\n"),
        ("json", None, '{\n  "a": 1,\n  "b": null,\n  "c": "x"\n}\n'), ("json", "c", '{\n  "c": "x"\n}\n'),
        ("ndjson", None, '{"a": 1, "b": null, "c": "x"}\n'), ("yaml", "c", "c: x\n"), ("name", None, "x\n"),
    ],
)  # fmt: skip
def test_an_object_is_shown_by_its_columns_or_by_the_fields_that_are_asked_for(
    output: Any, fields: str | None, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with click.Context(click.Command("get")):
        wanted: Common = common()
        wanted.output, wanted.fields = output, fields
        show({"a": 1, "b": None, "c": "x"}, "a b", name="c")

    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    ("no_input", "why"), [(False, "There is no terminal to ask on"), (True, "--no-input asks nothing")]
)
def test_without_a_terminal_only_yes_answers(no_input: bool, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with click.Context(click.Command("delete")):
        common().no_input = no_input
        ask("Delete it?", yes=True)
        monkeypatch.setattr("sys.stdin.isatty", lambda: no_input)
        with pytest.raises(CommandFailed) as refusal:
            ask("Delete it?", yes=False)

    assert (refusal.value.message, refusal.value.exit_code) == (f"Delete it? {why}: give --yes to confirm", 2)


def test_an_import_counts_each_place_that_needs_review(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node = {"nodes": {"a": {"type": "return"}}}
    flows = [Imported("one", node), Imported("two", node), Imported("three", node)]
    flows[0].note("look here")
    flows[0].note("and here")
    flows[2].note("here, too")

    with click.Context(click.Command("import")):
        write_all(flows, tmp_path)

    out, err = capsys.readouterr()
    assert out == "one\ntwo\nthree\n"
    assert err == (f"one: look here\none: and here\nthree: here, too\n3 flows in {tmp_path}, 3 places need review\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.yaml", "three.yaml", "two.yaml"]
