"""The wait for an execution while its server goes away and comes back."""

import json
import re
import threading
from typing import Any

import click
import pytest

from client.scripted import answer, scripted
from client.test_hostile_servers import TOKEN, cut, stream
from flowrunner.cli import log_lines, outages, waiting
from flowrunner.cli.common import CommandFailed, common
from flowrunner.cli.live import Silence
from flowrunner.client import Client


def test_each_absence_of_the_server_is_waited_for_from_its_own_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "_AWAY_SECONDS", 0.1)
    monkeypatch.setattr(outages, "_AGAIN_SECONDS", 0.2)
    over = {"events": [], "after": 3, "has_ended": True}
    steps = cut('{"seq": 1}'), cut('{"seq": 2}'), stream('{"seq": 3}', ends=True), answer(200, over)
    with scripted(*steps) as server, Client(server.url, TOKEN, retry_seconds=0) as client:
        seen: list[object] = []
        seen.extend(e["seq"] for e in log_lines.followed_events(client, "exec-1", tell=lambda _: seen.append("away")))

    assert seen == [1, "away", 2, "away", 3]
    # Each time from the event on that was shown last.
    assert [re.findall(r"after=\d+", head) for head in server.heads()[:3]] == [["after=0"], ["after=1"], ["after=2"]]


LINES = (
    {"seq": 1, "type": "log", "level": "info", "message": "Begun"},
    {"seq": 2, "type": "log", "level": "debug", "message": "A", "node_id": "push", "step": "push.1", "attempt": 1},
    {"seq": 3, "type": "log", "level": "warn", "message": "B", "node_id": "push", "step": "push.1", "attempt": 2},
    {
        "seq": 4,
        "type": "log",
        "level": "error",
        "message": "C",
        "node_id": "in",
        "step": "push.1[0]/in.1",
        "attempt": 1,
    },
    {"seq": 5, "type": "log", "level": "info", "message": "D", "node_id": "push", "step": "push.10", "attempt": 1},
    {"seq": 6, "type": "execution_completed", "status": "completed"},
)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["Begun", "A", "B", "C", "D"]),
        ({"min_level": "debug"}, ["Begun", "A", "B", "C", "D"]),
        ({"min_level": "warn"}, ["B", "C"]),
        ({"node": "push"}, ["A", "B", "D"]),
        ({"step": "push.1"}, ["A", "B", "C"]),
        ({"step": "push.10"}, ["D"]),
        ({"attempt": 1}, ["A", "C", "D"]),
        ({"q": "BEG"}, ["Begun"]),
    ],
)
def test_the_lines_that_are_followed_are_those_that_the_options_select(query: dict[str, Any], found: list[str]) -> None:
    over = {"events": [], "after": 6, "has_ended": True}
    options = dict.fromkeys(("min_level", "node", "step", "attempt", "q")) | query
    with (
        scripted(stream(*map(json.dumps, LINES), ends=True), answer(200, over)) as server,
        Client(server.url) as client,
    ):
        lines = list(log_lines.followed_lines(client, "/executions/exec-1", options, tell=print))

    assert [line["message"] for line in lines] == found


def test_while_nothing_happens_the_time_goes_on_to_be_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "_DRAW_SECONDS", 0.01)
    has_ended = threading.Event()
    drawn = 0

    def be_silent(connection: Any) -> None:
        connection.sendall(stream(ends=False))
        has_ended.wait(30)

    class Drawn(Silence):
        def draw(self) -> None:
            nonlocal drawn
            drawn += 1

    with scripted(be_silent) as server, Client(server.url) as client:
        with pytest.raises(CommandFailed, match="has not ended after"):
            waiting.follow(client, "exec-1", Drawn(), seconds=0.5)
        has_ended.set()

    assert drawn > 3


def test_events_are_read_portion_by_portion() -> None:
    portions = [
        {"events": [{"seq": 1}, {"seq": 2}], "after": 2, "has_ended": False},
        {"events": [{"seq": 3}], "after": 3, "has_ended": False},
        {"events": [], "after": 3, "has_ended": False},
    ]
    with scripted(*(answer(200, each) for each in portions)) as server, Client(server.url) as client:
        events = list(log_lines.recorded_events(client, "/executions/exec-1"))

    assert events == [{"seq": 1}, {"seq": 2}, {"seq": 3}]
    assert [head.split()[1].partition("?")[2] for head in server.heads()] == [
        f"after={after}&limit=500" for after in (0, 2, 3)
    ]


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        ({}, "20\n"),
        ({"fields": "id,status"}, "exec-1"),
        ({"query": "id"}, "exec-1"),
        ({"output": "json"}, '"id": "exec-1"'),
    ],
)
def test_an_execution_that_was_waited_for_is_shown_by_its_result_or_as_the_options_want_it(
    capsys: pytest.CaptureFixture[str], wanted: dict[str, Any], shown: str
) -> None:
    with click.Context(click.Command("run")):
        for name, value in wanted.items():
            setattr(common(), name, value)
        code = waiting.end_with({"id": "exec-1", "status": "completed", "result": 20})

    said = capsys.readouterr().out
    assert code == 0
    assert said == shown if not wanted else shown in said
