"""The wait for an execution while its server goes away and comes back."""

import re

import pytest

from client.scripted import answer, scripted
from client.test_hostile_servers import TOKEN, cut, stream
from flowrunner.cli import log_lines
from flowrunner.client import Client


def test_each_absence_of_the_server_is_waited_for_from_its_own_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "_AWAY_SECONDS", 0.1)
    monkeypatch.setattr(log_lines, "_AGAIN_SECONDS", 0.2)
    over = {"events": [], "after": 3, "has_ended": True}
    steps = cut('{"seq": 1}'), cut('{"seq": 2}'), stream('{"seq": 3}', ends=True), answer(200, over)
    with scripted(*steps) as server, Client(server.url, TOKEN, retry_seconds=0) as client:
        seen: list[object] = []
        seen.extend(e["seq"] for e in log_lines.followed_events(client, "exec-1", tell=lambda _: seen.append("away")))

    assert seen == [1, "away", 2, "away", 3]
    # Each time from the event on that was shown last.
    assert [re.findall(r"after=\d+", head) for head in server.heads()[:3]] == [["after=0"], ["after=1"], ["after=2"]]
