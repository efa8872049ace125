"""What a node type does that none should: it ends its own step, and nothing else."""

import asyncio
import threading
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.dispatch import local
from flowrunner.domain import decide
from flowrunner.domain.events import Completed, ErrorValue, Event, Failed, Logged, NodeFailed
from flowrunner.domain.status import Status
from flowrunner.plugin import (
    HttpAnswer,
    NodeFailure,
    Outcome,
    RunScopes,
    ScopesEnded,
    Signalled,
    SignalWait,
    StepContext,
    Suspend,
    TimeWait,
)
from flowrunner.ports.dispatch import Signal
from flowrunner.threads import MOST_OF_PACKAGES, OF_PACKAGE, start_threads
from support.dependencies import PATIENCE_SECONDS, Acting, FakeHttp, Request, answer, machine
from support.invariants import check_database

from .events import ending, of_type

FLOW: Final = """
nodes:
  a: {type: act, next: {default: ok, error: bad}}
  ok: {type: return, params: {value: "${input}"}}
  bad: {type: fail, params: {error: "${error.type}", message: "${error.message}", data: "${error.data}"}}
"""


async def run_acting(path: Path, act: Any, *, pure: bool = False, starts_executions: bool = False) -> list[Event]:
    acting = Acting("act", act, pure=pure, starts_executions=starts_executions)
    async with machine(path, types=[acting]) as engine:
        events = await engine.run(FLOW)
    assert check_database(path) == []
    return events


def failure_of(events: list[Event]) -> ErrorValue:
    end = ending(events)
    assert isinstance(end, Failed)
    return end.error


class Unfriendly(Exception):
    def __str__(self) -> str:
        return "secret detail"


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize(
    "error", [ValueError("x"), Unfriendly(), RecursionError(), TimeoutError(), asyncio.CancelledError(), MemoryError(),
     SystemExit(3), KeyboardInterrupt(), BaseException("panic"), GeneratorExit(), OSError("no file 'caf\udce9'")],
)  # fmt: skip
async def test_whatever_a_node_type_raises_ends_its_node_alone(path: Path, error: BaseException, pure: bool) -> None:
    async def act(value: Any, context: StepContext) -> Any:
        raise error

    events = await run_acting(path, act, pure=pure)

    assert failure_of(events).type == "node.crashed"
    assert "secret detail" not in str(events)


async def test_an_error_that_cannot_become_text_ends_its_node_alone(path: Path) -> None:
    class Mute:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    async def act(value: Any, context: StepContext) -> Any:
        raise NodeFailure(Mute(), "x")  # type: ignore[arg-type]

    assert failure_of(await run_acting(path, act)).type == "node.crashed"


async def cancel_itself(value: Any, context: StepContext) -> Any:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def test_a_short_node_that_cancels_the_task_of_its_execution_does_not_leave_that_running(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It runs in the task of its execution, which is loaded again after each time.
    monkeypatch.setattr(decide, "MAX_INTERRUPTIONS", 1)
    monkeypatch.setattr(local, "seconds_after", lambda retries: 0.0)

    assert failure_of(await run_acting(path, cancel_itself, pure=True)).type == "worker_crashed"


async def test_a_package_has_other_threads_than_the_server(path: Path) -> None:
    await start_threads()

    async def act(value: Any, context: StepContext) -> Any:
        return await asyncio.to_thread(lambda: threading.current_thread().name)

    end = ending(await run_acting(path, act))

    assert isinstance(end, Completed)
    assert str(end.result).startswith("package")
    assert (await asyncio.to_thread(lambda: threading.current_thread().name)).startswith("server")


async def test_an_execution_that_begins_in_a_step_of_a_package_has_the_threads_of_the_server(path: Path) -> None:
    of_package: list[bool] = []

    async def note(request: Request) -> HttpAnswer:
        of_package.append(OF_PACKAGE.get())
        return answer()

    async def act(value: Any, context: StepContext) -> None:
        await engine.start("flow-other", id="exec-other")

    http = FakeHttp()
    http.at("http://peer/", note)
    async with machine(path, http=http, types=[Acting("act", act)]) as engine:
        await engine.save('nodes: {a: {type: http.request, params: {url: "http://peer/"}}}', "flow-other")
        await engine.run(FLOW)
        await engine.until_ended("exec-other")

    assert of_package == [False]


async def test_a_package_that_blocks_all_threads_it_can_have_leaves_the_server_its_own() -> None:
    await start_threads()
    may_end = threading.Event()

    async def block() -> None:
        OF_PACKAGE.set(True)
        await asyncio.to_thread(may_end.wait)

    blocking = [asyncio.create_task(block()) for _ in range(2 * MOST_OF_PACKAGES)]
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await asyncio.to_thread(lambda: 1) == 1
    finally:
        may_end.set()
        await asyncio.gather(*blocking)


CYCLE: Final[list[Any]] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize("result", [object(), {"a": object()}, "\ud800", {(1, 2): 3}, Unfriendly(), CYCLE])
async def test_a_result_that_is_no_json_ends_its_node_alone(path: Path, result: Any) -> None:
    async def act(value: Any, context: StepContext) -> Any:
        return result

    assert failure_of(await run_acting(path, act)).type == "node.crashed"


@pytest.mark.parametrize(("result", "kept"), [({1}, [1]), (b"\xff", "/w=="), (2**200, 2**200)])
async def test_a_result_that_can_be_json_is_made_it(path: Path, result: Any, kept: Any) -> None:
    async def act(value: Any, context: StepContext) -> Any:
        return result

    assert ending(await run_acting(path, act)) == Completed(result=kept)


@pytest.mark.parametrize(
    ("failure", "kept"), [(("x", 5), ("x", "5")), ((7, "m"), ("7", "m")), (("x", ValueError("v")), ("x", "v"))]
)
async def test_an_error_of_odd_parts_is_still_an_error(path: Path, failure: Any, kept: tuple[str, str]) -> None:
    async def act(value: Any, context: StepContext) -> Any:
        no_json: Any = object()
        raise NodeFailure(*failure, data={"when": no_json})

    error = failure_of(await run_acting(path, act))

    assert (error.type, error.message) == kept
    assert error.data == {"omitted": "the data cannot be written as JSON (TypeError)"}


class _Looping(Acting):
    child_scopes = "nodes"


class _Branching(Acting):
    child_scopes = "branches"


NO_WAIT: Final[Any] = None
NO_KEY: Final[Any] = 5
SOON: Final[Any] = "soon"


@pytest.mark.parametrize(
    "outcome",
    [
        Suspend(wait_for=NO_WAIT),
        Suspend(wait_for=SignalWait(NO_KEY)),
        Suspend(wait_for=TimeWait(SOON)),
        Suspend(wait_for=TimeWait(datetime(2027, 1, 1))),  # noqa: DTZ001 # without a time zone
        Suspend(wait_for=SignalWait("go"), deadline=SOON),
        Suspend(wait_for=SignalWait("go"), deadline=datetime(2027, 1, 1)),  # noqa: DTZ001
        RunScopes(keys=[], inputs=[], not_before=SOON),
        RunScopes(keys=["0"], inputs=[1, 2]),
        RunScopes(keys=["0", "0"], inputs=[1, 2]),
        RunScopes(keys=[NO_KEY], inputs=[1]),
        RunScopes(keys=["x[1]"], inputs=[1]),
        RunScopes(keys=["0"], inputs=[1], concurrency=0),
        RunScopes(keys=["0"], inputs=[1], needed=2),
        RunScopes(keys=["0"], inputs=[1], needed=-1),
        Outcome(1, vars={"n": 1}),
    ],
    ids=repr,
)
async def test_an_outcome_that_could_not_be_kept_or_ended_ends_its_node_alone(path: Path, outcome: Any) -> None:
    async def act(value: Any, context: StepContext) -> Any:
        return outcome

    flow = FLOW.replace("{type: act,", "{type: act, nodes: {i: {type: return}},")
    async with machine(path, types=[_Looping("act", act)]) as engine:
        events = await engine.run(flow)

    assert failure_of(events).type == "node.crashed"
    assert check_database(path) == []


@pytest.mark.parametrize(
    ("kind", "inner"), [(Acting, ""), (_Branching, "branches: {b: {nodes: {i: {type: return}}}}, ")]
)
async def test_scopes_that_a_node_does_not_have_end_it_alone(path: Path, kind: type[Acting], inner: str) -> None:
    async def act(value: Any, context: StepContext) -> Any:
        return RunScopes(keys=["0"], inputs=[1])

    async with machine(path, types=[kind("act", act)]) as engine:
        events = await engine.run(FLOW.replace("{type: act,", f"{{type: act, {inner}"))

    assert failure_of(events).type == "node.crashed"


ODD_SECONDS: Final[Any] = "5"


@pytest.mark.parametrize(
    ("asked", "attempts"), [(float("nan"), 2), (-5, 2), (ODD_SECONDS, 2), (float("inf"), 1), (1e18, 1)]
)
async def test_an_odd_delay_before_the_next_attempt_is_no_end_of_the_execution(
    path: Path, asked: Any, attempts: int
) -> None:
    async def act(value: Any, context: StepContext) -> Any:
        raise NodeFailure("a.b", "later", retry_after=asked)

    async with machine(path, types=[Acting("act", act)]) as engine:
        events = await engine.run(
            FLOW.replace("{type: act,", "{type: act, retry: {max: 1, delay: 10ms, max_elapsed: 1m, errors: ['*']},")
        )

    assert failure_of(events).type == "a.b"
    # The last one is that of the node that the error leads to.
    assert len(of_type(NodeFailed, events)) == attempts + 1


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (("warning", "m", None), ("info", "m")), (("info", 5, None), ("info", "5")),
        (("info", "m", object()), ("info", "m")), (("info", "\ud800", None), ("info", "?")),
    ],
)  # fmt: skip
async def test_an_odd_log_line_does_not_stop_the_execution(path: Path, line: Any, kept: tuple[str, str]) -> None:
    async def act(value: Any, context: StepContext) -> Any:
        context.log(*line)

    events = await run_acting(path, act)

    assert ending(events) == Completed(result=None)
    assert [(line.level, line.message) for line in of_type(Logged, events)[1:-1]] == [kept]


async def test_a_node_that_cancels_its_own_task_ends_alone(path: Path) -> None:
    async def act(value: Any, context: StepContext) -> Any:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)

    events = await run_acting(path, act)

    assert failure_of(events).type == "node.crashed"


async def test_a_node_that_ignores_its_timeout_does_not_keep_its_execution(path: Path) -> None:
    released = asyncio.Event()
    attempts: list[int] = []

    async def stubborn(value: Any, context: StepContext) -> Any:
        attempts.append(context.attempt)
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue
        return "too late"

    flow = "nodes: {a: {type: act, timeout: 50ms, retry: {max: 1, delay: 10ms}}}"
    async with machine(path, types=[Acting("act", stubborn)]) as engine:
        events = await engine.run(flow)
        released.set()
        await asyncio.sleep(0)

    assert isinstance(end := ending(events), Failed)
    assert end.error.type == "timeout"
    assert attempts == [1, 2]
    assert check_database(path) == []


async def test_the_late_result_of_an_attempt_that_was_given_up_is_not_that_of_the_next(path: Path) -> None:
    is_retried, has_returned = asyncio.Event(), asyncio.Event()

    async def stubborn(value: Any, context: StepContext) -> Any:
        if context.attempt == 2:
            is_retried.set()
            await has_returned.wait()
            # Whatever is made of the first attempt's result is made before this.
            await asyncio.sleep(0.02)
            return "in time"
        while not is_retried.is_set():
            try:
                await is_retried.wait()
            except asyncio.CancelledError:
                continue
        has_returned.set()
        return "too late"

    flow = "nodes: {a: {type: act, timeout: 1s, retry: {max: 1, delay: 10ms}}}"
    async with machine(path, types=[Acting("act", stubborn)]) as engine:
        events = await engine.run(flow)

    assert ending(events) == Completed(result="in time")
    assert check_database(path) == []


async def test_a_node_that_ignores_cancellation_does_not_keep_its_execution(path: Path) -> None:
    begun, let_go, gone = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn(value: Any, context: StepContext) -> Any:
        begun.set()
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                context.log("info", "no")
        gone.set()
        return "late"

    async with machine(path, types=[Acting("act", stubborn)]) as engine:
        await engine.save("nodes: {a: {type: act}}")
        id = await engine.start()
        await begun.wait()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await engine.dispatcher.cancel(id, reason="by hand")
        assert await engine.status() is Status.CANCELLED
        before = await engine.events()
        let_go.set()
        await gone.wait()
        # Whatever would still be written of it is written before this.
        await engine.run("nodes: {a: {type: return}}", id="another")
        assert await engine.events() == before

    assert check_database(path) == []


async def test_a_pure_node_that_keeps_ending_the_process_is_given_up(path: Path) -> None:
    starts = 0
    begun = asyncio.Event()

    async def deadly(value: Any, context: StepContext) -> Any:
        nonlocal starts
        starts += 1
        begun.set()
        await asyncio.Event().wait()

    async with machine(path, types=[Acting("act", deadly, pure=True)]) as engine:
        await engine.save("nodes: {a: {type: act}}")
        await engine.start()
        await begun.wait()
    for _ in range(decide.MAX_INTERRUPTIONS + 3):
        begun.clear()
        async with machine(path, types=[Acting("act", deadly, pure=True)]) as engine:
            ended = asyncio.create_task(engine.until_ended())
            await asyncio.wait((ended, asyncio.create_task(begun.wait())), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                break
            ended.cancel()

    async with machine(path, types=[Acting("act", deadly, pure=True)]) as engine:
        events = await engine.events()
    assert isinstance(end := ending(events), Failed)
    assert end.error.type == "worker_crashed"
    assert starts <= decide.MAX_INTERRUPTIONS + 2
    assert check_database(path) == []


class _Resuming(Acting):
    """A node type that waits for a signal, or opens a scope, and never ends what it does after that."""

    def __init__(self, begun: asyncio.Event, first: Suspend | RunScopes) -> None:
        super().__init__("act", self._begin)
        self._begun, self._first = begun, first
        self.resumptions = 0

    async def _begin(self, value: Any, context: StepContext) -> Any:
        return self._first

    async def on_signal(self, params: Any, context: StepContext, signalled: Signalled) -> Any:
        await self._end_the_process()

    async def on_scopes_ended(self, params: Any, context: StepContext, ended: ScopesEnded) -> Any:
        await self._end_the_process()

    async def _end_the_process(self) -> None:
        self.resumptions += 1
        self._begun.set()
        await asyncio.Event().wait()


class _ResumingLoop(_Resuming):
    child_scopes = "nodes"


@pytest.mark.parametrize("is_loop", [False, True])
async def test_a_node_that_keeps_ending_the_process_when_it_resumes_is_given_up(path: Path, is_loop: bool) -> None:
    begun = asyncio.Event()
    wait, scopes = Suspend(wait_for=SignalWait("go")), RunScopes(keys=["0"], inputs=[None], concurrency=1)
    deadly = _ResumingLoop(begun, scopes) if is_loop else _Resuming(begun, wait)
    inner = ", nodes: {b: {type: transform, params: {value: 1}}}" if is_loop else ""
    async with machine(path, types=[deadly]) as engine:
        await engine.save(f"nodes: {{a: {{type: act{inner}}}}}")
        id = await engine.start()
        if not is_loop:
            await engine.until_parked()
            assert await engine.dispatcher.signal(id, Signal(key="signal:go", payload=1))
        await begun.wait()
    for _ in range(decide.MAX_INTERRUPTIONS + 3):
        begun.clear()
        async with machine(path, types=[deadly]) as engine:
            ended = asyncio.create_task(engine.until_ended())
            await asyncio.wait((ended, asyncio.create_task(begun.wait())), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                break
            ended.cancel()

    async with machine(path, types=[deadly]) as engine:
        end = ending(await engine.events())
    assert isinstance(end, Failed)
    assert end.error.type == "worker_crashed"
    assert deadly.resumptions == decide.MAX_INTERRUPTIONS + 1
    assert check_database(path) == []


async def test_a_node_that_must_not_run_twice_is_not_resumed_twice(path: Path) -> None:
    begun = asyncio.Event()
    acting = _Resuming(begun, Suspend(wait_for=SignalWait("go")))
    async with machine(path, types=[acting]) as engine:
        await engine.save("nodes: {a: {type: act, idempotent: false}}")
        id = await engine.start()
        await engine.until_parked()
        assert await engine.dispatcher.signal(id, Signal(key="signal:go", payload=1))
        await begun.wait()

    async with machine(path, types=[acting]) as engine:
        await engine.until_ended()
        end = ending(await engine.events())

    assert isinstance(end, Failed)
    assert end.error.type == "interrupted"
    assert acting.resumptions == 1
    assert check_database(path) == []


async def test_a_node_that_must_not_run_twice_is_not_resumed_twice_when_a_signal_comes_before_its_slot(
    path: Path,
) -> None:
    """After the crash, the signal loads the execution while it queues for a slot, and no step may resume then."""
    begun, let_go, peer = asyncio.Event(), asyncio.Event(), "http://peer/"
    acting, http = _Resuming(begun, Suspend(wait_for=SignalWait("go"))), FakeHttp()

    async def slow(request: Request) -> HttpAnswer:
        await let_go.wait()
        return answer()

    http.at(peer, slow)
    async with machine(path, types=[acting], http=http) as engine:
        await engine.save("nodes: {a: {type: http.request, params: {url: 'http://peer/'}}}", "runs")
        await engine.save("nodes: {a: {type: act, idempotent: false}}")
        id = await engine.start(id="waits")
        await engine.until_parked(id)
        await engine.start("runs", id="running")
        await engine.until_requested(peer)
        assert await engine.dispatcher.signal(id, Signal(key="signal:go", payload=1))
        await begun.wait()

    async with machine(path, types=[acting], http=http, most_active=1) as engine:
        await engine.until_requested(peer, times=2)
        assert engine.dispatcher.waits_to_become_active(id)
        for _ in range(2):
            assert await engine.dispatcher.signal(id, Signal(key="signal:other", payload=2))
        let_go.set()
        await engine.until_ended(id)
        end = ending(await engine.events(id))

    assert isinstance(end, Failed)
    assert end.error.type == "interrupted"
    assert acting.resumptions == 1
    assert check_database(path) == []


class _Rounds(_Resuming):
    """A node type that begins another round each second time that it resumes."""

    child_scopes = "nodes"

    async def on_scopes_ended(self, params: Any, context: StepContext, ended: ScopesEnded) -> Any:
        if self.resumptions % 2:
            self.resumptions += 1
            (key,) = ended.keys
            if int(key) == decide.MAX_INTERRUPTIONS:
                return "done"
            return RunScopes(keys=[str(int(key) + 1)], inputs=[None], concurrency=1)
        return await super().on_scopes_ended(params, context, ended)


async def test_a_loop_that_goes_on_after_each_crash_is_not_given_up(path: Path) -> None:
    begun = asyncio.Event()
    rounds = _Rounds(begun, RunScopes(keys=["0"], inputs=[None], concurrency=1))
    async with machine(path, types=[rounds]) as engine:
        await engine.save("nodes: {a: {type: act, nodes: {b: {type: transform, params: {value: 1}}}}}")
        await engine.start()
        await begun.wait()
    for _ in range(decide.MAX_INTERRUPTIONS + 3):
        begun.clear()
        async with machine(path, types=[rounds]) as engine:
            ended = asyncio.create_task(engine.until_ended())
            await asyncio.wait((ended, asyncio.create_task(begun.wait())), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                break
            ended.cancel()

    async with machine(path, types=[rounds]) as engine:
        assert ending(await engine.events()) == Completed(result="done")
    assert rounds.resumptions > 2 * decide.MAX_INTERRUPTIONS
    assert check_database(path) == []


async def test_a_context_has_no_public_attribute_beside_the_contract(path: Path) -> None:
    seen: set[str] = set()

    async def act(value: Any, context: StepContext) -> Any:
        seen.update(name for name in dir(context) if not name.startswith("_"))
        seen.update(f"flows.{name}" for name in dir(context.flows) if not name.startswith("_"))

    await run_acting(path, act, starts_executions=True)

    contract = {name for name in dir(StepContext) if not name.startswith("_")}
    assert seen == contract | {"flows.describe", "flows.start"}
