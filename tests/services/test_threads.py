"""Work of any length: short on the event loop, long on a thread."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final, cast

import pytest

from flowrunner import threads
from flowrunner.domain.callbacks import CallbackEvent
from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.expression import ExpressionFailed, TooMuchFilledIn
from flowrunner.domain.expression.templates import render
from flowrunner.domain.values import WorkspaceId
from flowrunner.language import read_stored_flow
from flowrunner.nodes import installed
from flowrunner.ports.callbacks import CallbackId, CallbackView, DeliveryId
from flowrunner.services.callback_messages import MOST_MESSAGE_CHARACTERS, CallbackMessages, compiled
from flowrunner.services.callback_secrets import Credentials
from flowrunner.services.trigger_values import MOST_CHARACTERS, FiredTrigger
from flowrunner.threads import LONG_BYTES, on_thread_if, render_soon
from support.databases import MARA, NOON

# Characters that a rendering may have on the event loop.
SHORT: Final = 128 * 1024


@pytest.fixture
def renderings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[bool, int]]]:
    """Renderings: whether on the thread of the event loop, and the size that was allowed."""
    seen: list[tuple[bool, int]] = []
    loop = threading.get_ident()

    def noted(*args: Any, most: int) -> Any:
        seen.append((threading.get_ident() == loop, most))
        return render(*args, most=most)

    monkeypatch.setattr(threads, "render", noted)
    yield seen
    assert [most for is_loop, most in seen if is_loop and most > SHORT] == []


async def test_a_call_runs_where_its_size_belongs() -> None:
    loop = threading.get_ident()

    assert await on_thread_if(LONG_BYTES, threading.get_ident) == loop
    assert await on_thread_if(LONG_BYTES + 1, threading.get_ident) != loop
    assert await on_thread_if(1, int, "1f", base=16) == 31


async def test_s61_long_templates_are_rendered_on_a_thread(renderings: list[tuple[bool, int]]) -> None:
    template = compiled({"a": "${event.x} "})

    assert await render_soon(template, {"event": {"x": "x"}}) == {"a": "x "}
    assert len(renderings) == 1
    assert await render_soon(template, {"event": {"x": "x" * (SHORT + 1)}}) == {"a": "x" * (SHORT + 1) + " "}
    assert [is_loop for is_loop, _ in renderings] == [True, True, False]


async def test_the_error_of_a_long_rendering_names_the_limit_that_was_reached() -> None:
    template = compiled({"a": "${event.x} "})

    for most in (100, SHORT, SHORT + 1, 1_000_000):
        with pytest.raises(TooMuchFilledIn, match=f"more than {most} characters together"):
            await render_soon(template, {"event": {"x": "x" * 2_000_000}}, most=most)


HOOKED: Final = """
triggers:
  in: {type: webhook, verify: {scheme: none}, input: {a: "${trigger.body.x} ", b: "${trigger.body.x} "}}
nodes: {a: {type: return}}
"""


async def test_s61_the_input_of_a_trigger_is_rendered_on_a_thread_if_it_is_long(
    renderings: list[tuple[bool, int]],
) -> None:
    specs = {name: kind.spec() for name, kind in installed(print).items()}
    flow = read_stored_flow(HOOKED, specs)
    trigger = flow.triggers["in"]

    async def input(size: int) -> Any:
        values = {"body": {"x": "x" * size}}
        sandbox = cast("Any", None)
        fired = FiredTrigger(trigger=trigger, flow=flow, values=values, config={}, workspace_id=MARA, sandbox=sandbox)
        return await fired.input()

    assert await input(3) == {"a": "xxx ", "b": "xxx "}
    assert renderings == [(True, SHORT)]
    assert len((await input(SHORT))["b"]) == SHORT + 1
    assert renderings[1:] == [(True, SHORT), (False, MOST_CHARACTERS)]
    with pytest.raises(InvalidInput, match=f"larger than {MOST_CHARACTERS} characters"):
        await input(MOST_CHARACTERS)


async def test_s61_the_message_of_a_callback_is_rendered_on_a_thread_if_it_is_long(
    renderings: list[tuple[bool, int]],
) -> None:
    messages = CallbackMessages(*cast("Any", (None, None, None)), public_url=None)

    async def message(template: Any, size: int) -> bytes:
        view = CallbackView(
            id=CallbackId("callback-1"), workspace_id=MARA, name="C", format="template", address="http://a",
            events=["execution.failed"], created_at=NOON, updated_at=NOON, template=template,
        )  # fmt: skip
        event = CallbackEvent(
            id=DeliveryId("d-1"), type="execution.failed", workspace_id=WorkspaceId(MARA), at=NOON, subject="s",
            data={"x": "x" * size}, workspace_name="W", link=None, depth=0,
        )  # fmt: skip
        made = await messages.message(
            view, event, credentials=Credentials.new("http://a"), now=NOON + timedelta(seconds=1)
        )
        return made.body

    assert await message("${event.data.x}!", 3) == b"xxx!"
    assert renderings == [(True, SHORT)]
    assert len(await message(["${event.data.x} "] * 3, 60_000)) > 180_000
    assert renderings[1:] == [(True, SHORT), (False, MOST_MESSAGE_CHARACTERS)]
    with pytest.raises(ExpressionFailed, match=f"more than {MOST_MESSAGE_CHARACTERS} characters"):
        await message(["${event.data.x} "] * 800, 60_000)


STARTED: Final = """
import asyncio, os, time
import uvloop
from flowrunner.threads import start_threads

async def main():
    await start_threads()
    before = len(os.listdir("/proc/self/task"))
    loop = asyncio.get_running_loop()
    waits = [asyncio.to_thread(time.sleep, 0.05) for _ in range(50)]
    await asyncio.gather(*waits, *(loop.getaddrinfo("localhost", port) for port in range(1, 20)))
    print(len(os.listdir("/proc/self/task")) - before)

uvloop.run(main())
"""
REFUSED: Final = """
import asyncio, os, resource
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.threads import start_threads

resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
if os.getuid() == 0:
    # No such limit holds for root.
    os.setuid(65534)
try:
    asyncio.run(start_threads())
except FlowRunnerError as error:
    print(error)
"""


def run_alone(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stderr == ""
    return done.stdout


def test_no_thread_is_started_later_than_at_the_start() -> None:
    assert run_alone(STARTED) == "0\n"


def test_a_process_that_may_have_no_more_threads_does_not_start() -> None:
    assert "raise the limit of processes and threads" in run_alone(REFUSED)
