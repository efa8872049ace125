"""Secrets in flows: used by nodes, and hidden in all that is recorded."""

import asyncio
import json
from pathlib import Path
from typing import Final

import pytest

from flowrunner.domain.errors import RedactionLimit
from flowrunner.domain.events import Completed
from flowrunner.plugin import HttpAnswer
from flowrunner.ports import Signal
from support.databases import rows_of
from support.world import Machine, Request, answer, secret

from .events import ending


async def test_secrets_are_hidden_in_every_event(engine: Machine, path: Path) -> None:
    value = 'geheim-"Wort"-\\1'
    await secret(engine, "KEY", value)

    async def leak(request: Request) -> HttpAnswer:
        assert request.headers["Authorization"] == f"Bearer {value}"
        return answer(403, json.dumps({"echo": [value, {value: 1}], "text": f"you sent {value}!"}), x_echo="geheim")

    engine.http.at("http://peer/", leak)
    await engine.run(
        """
        nodes:
          a:
            type: http.request
            params: {url: "http://peer/", headers: {Authorization: "Bearer ${secrets.KEY}"}}
            next: {error: b}
          b: {type: log, params: {message: "m ${secrets.KEY}", data: ["${secrets.KEY}"]}, next: c}
          c: {type: transform, params: {value: {"k": "${secrets.KEY}", "e": "${error.data}"}}, next: d}
          d: {type: fail, params: {message: "failed with ${secrets.KEY}", data: "${secrets.KEY}"}}
        """,
        {"given": value},
    )
    await engine.database.close()

    stored = await asyncio.to_thread(path.read_bytes)
    for form in (value, json.dumps(value)[1:-1], json.dumps(json.dumps(value)[1:-1])[1:-1]):
        assert form.encode() not in stored
        for published in engine.broadcast.published.values():
            assert all(form.encode() not in r.data and form not in str(r.event) for r in published)
    assert "***" in str(rows_of(path, "SELECT error FROM executions"))


async def test_an_unknown_secret_is_an_error_that_names_it(engine: Machine) -> None:
    events = await engine.run("nodes: {a: {type: transform, params: {value: '${secrets.MISSING}'}}}")

    assert "MISSING" in ending(events).error.message
    assert ending(events).error.type == "expression"


async def test_a_secret_that_was_replaced_is_still_hidden(engine: Machine, path: Path) -> None:
    await secret(engine, "KEY", "the-first-value")
    await secret(engine, "KEY", "the-second-value")

    events = await engine.run(
        "nodes: {a: {type: return, params: {value: '${input}'}}}", "the-first-value the-second-value"
    )

    assert ending(events) == Completed(result="*** ***")


# Too much to hide: many secrets that end with the same characters, and a text of nothing else.
ALIKE: Final = 40
RUN: Final = 600_000


async def _hard_to_hide(engine: Machine) -> None:
    for number in range(ALIKE):
        await secret(engine, f"KEY_{number}", f"{number:08}" + "a" * 8000)


async def test_s26_a_result_in_which_secrets_cannot_be_hidden_is_an_error_of_its_node(engine: Machine) -> None:
    await _hard_to_hide(engine)

    events = await engine.run(
        f"""
        nodes:
          a:
            type: transform
            params: {{script: "return 'a'.repeat({RUN})"}}
            next: {{error.limit.redaction: b}}
          b: {{type: return, params: {{value: "${{error.message}}"}}}}
        """
    )

    message = str(ending(events).result)
    assert "it repeats parts of them too often" in message
    assert "Keep a smaller part of it" in message


async def test_s26_an_input_and_a_signal_in_which_secrets_cannot_be_hidden_are_refused(engine: Machine) -> None:
    await engine.save("nodes: {a: {type: wait, params: {key: go}, next: r}, r: {type: return}}")
    waiting = await engine.start()
    await _hard_to_hide(engine)

    with pytest.raises(RedactionLimit):
        await engine.start(input="a" * RUN, id="exec-2")
    with pytest.raises(RedactionLimit):
        await engine.dispatcher.signal(waiting, Signal(key="signal:go", payload="a" * RUN))
    assert await engine.dispatcher.signal(waiting, Signal(key="signal:go", payload="b" * RUN))

    assert (await engine.until_ended()).value == "completed"
