"""Runner of a case: saves its flows, runs the execution, does the steps of `then`, and compares the outcome."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, cast

from msgspec import UNSET

from flowrunner.domain.account import Caller
from flowrunner.domain.decide import deadline_of, node_of
from flowrunner.domain.duration import parse_duration
from flowrunner.domain.errors import Conflict, Forbidden, InvalidFlow, InvalidInput, NotFound
from flowrunner.domain.events import Event, Failed, Logged
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.flow import Flow
from flowrunner.domain.transitions import replay
from flowrunner.domain.values import JSON, AccountId, ExecutionId, FlowId
from flowrunner.domain.workspace import WORKSPACE_ROLES
from flowrunner.nodes import built_in
from flowrunner.plugin import HttpAnswer, NodeFailure, NodeType, Outcome, StepContext
from flowrunner.ports.executions import ExecutionFilter
from flowrunner.ports.journal import load_whole
from flowrunner.ports.page import Page
from flowrunner.ports.sandbox import Sandbox
from flowrunner.services.flow_changes import FlowDraft
from flowrunner.services.reruns import RerunRequest
from language.backend import Backend, Process, Services
from language.case import Case, Expectation
from language.notation import by_scope, fits, in_order, lines_of, path_of, steps_of
from services.callers import caller_of, member_caller_of
from support.databases import MARA, MARA_ACCOUNT, OMAR
from support.dependencies import Answer, FakeHttp, Request, SteppingClock, answer

MAIN: Final = "main"
PATIENCE_SECONDS: Final = 60.0
# Shorter timeouts of nodes are waited for, because they use the real time.
_REAL_SECONDS: Final = 1.5
# How far the clock may be ahead, because it moves each time it is read.
_DRIFT_SECONDS: Final = 0.9


@dataclass
class Peers:
    """Answers of other servers, which are given, held back, or never given."""

    http: FakeHttp = field(default_factory=FakeHttp)
    hanging: int = 0
    held: dict[str, list[asyncio.Event]] = field(default_factory=dict)

    async def never(self, request: Request | None = None) -> Any:
        await self._hang(asyncio.Event())

    def answer_of(self, url: str, written: Any) -> Answer:
        match written:
            case int():
                return answer(written)
            case "never":
                return self.never
            case {"error": str(kind), **rest}:
                return NodeFailure(kind, str(rest.get("message", kind)))
            case {"held": True, **held}:
                return self._held(url, _http_answer({str(key): value for key, value in held.items()}))
            case dict():
                return _http_answer(written)
            case _:
                raise ValueError(f"{url}: no answer is written {written!r}")

    def release(self, url: str) -> None:
        """Answer the oldest request to ``url`` that is held back."""
        self.held[url].pop(0).set()

    def _held(self, url: str, given: HttpAnswer) -> Callable[[Request], Awaitable[HttpAnswer]]:
        async def wait(request: Request) -> HttpAnswer:
            let_go = asyncio.Event()
            self.held.setdefault(url, []).append(let_go)
            await self._hang(let_go)
            return given

        return wait

    async def _hang(self, until: asyncio.Event) -> None:
        self.hanging += 1
        try:
            await until.wait()
        finally:
            self.hanging -= 1


def _http_answer(written: Mapping[str, Any]) -> HttpAnswer:
    body = written.get("body", {})
    text = body if isinstance(body, str) else json.dumps(body)
    headers = {"content-type": "text/plain"} if isinstance(body, str) else {}
    given = answer(written.get("status", 200), text, **{**headers, **written.get("headers", {})})
    return given


@dataclass
class Script:
    """Mocked outcomes of nodes, used in order, the last one repeatedly."""

    answers: dict[str, list[Any]]
    peers: Peers

    def types(self) -> list[NodeType[Any]]:
        return [self._scripted(node_type) for node_type in built_in().values()] if self.answers else []

    def _scripted(self, real: NodeType[Any]) -> NodeType[Any]:
        async def run(node_type: NodeType[Any], params: Any, context: StepContext) -> Any:
            if context.node in self.answers:
                return await self._next_outcome(context.node)
            return await real.run(params, context)

        made: NodeType[Any] = type(f"Scripted{type(real).__name__}", (type(real),), {"run": run})()
        return made

    async def _next_outcome(self, node: str) -> Any:
        answers = self.answers[node]
        match answers.pop(0) if len(answers) > 1 else answers[0]:
            case "never":
                return await self.peers.never()
            case {"error": {"type": str(kind), **rest}}:
                raise NodeFailure(kind, str(rest.get("message", kind)), data=cast("JSON", rest.get("data")))
            case {"action": str(action), **rest}:
                return Outcome(cast("JSON", rest.get("result")), action)
            case {"result": result}:
                return result
            case other:
                raise ValueError(f"{node}: no answer is written {other!r}")


@dataclass
class RuleRunner:
    """Server that a case runs on, with the faults found so far."""

    backend: Backend
    sandbox: Sandbox
    case: Case
    crashes_at_rest: bool
    clock: SteppingClock = field(default_factory=SteppingClock)
    peers: Peers = field(default_factory=Peers)
    flow_ids: dict[str, FlowId] = field(default_factory=dict)
    executions: dict[str, ExecutionId] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    _life: AsyncExitStack = field(default_factory=AsyncExitStack)
    _process: Process | None = None
    _script: Script | None = None

    @property
    def process(self) -> Process:
        assert self._process is not None, "called while a process is open"
        return self._process

    @property
    def services(self) -> Services:
        return self.process.services

    async def open(self) -> None:
        opened = self.backend(clock=self.clock, http=self.peers.http, types=self.script.types(), sandbox=self.sandbox)
        self._process = await self._life.enter_async_context(opened)

    async def crash(self) -> None:
        await self._life.aclose()
        await self.open()

    async def close(self) -> None:
        await self._life.aclose()

    @property
    def script(self) -> Script:
        if self._script is None:
            answers = {node: list(a) if isinstance(a, Sequence) and not isinstance(a, str) else [a]
                       for node, a in self.case.mocks.items()}  # fmt: skip
            self._script = Script(answers, self.peers)
        return self._script

    # Running

    async def run(self) -> None:
        case, expect = self.case, self.case.expect
        await self.set_config(case.config)
        for key, value in case.secrets.items():
            await self.services.vault.set(MARA, key, value, at=self.clock.now())
        for url, written in case.http.items():
            answers = written if isinstance(written, Sequence) and not isinstance(written, str) else [written]
            self.peers.http.at(url, *(self.peers.answer_of(url, a) for a in answers))
        for name, revisions in case.flows.items():
            await self.save(name, revisions)
        if expect.warnings is not UNSET:
            text = case.flow if isinstance(case.flow, str) else case.flow[-1]
            found = await self.services.flows.validate(_caller("admin"), text)
            self.compare("warnings", expect.warnings, [_fault(f) for f in found if f.is_warning], partly=True)
        if expect.refused is not UNSET:
            await self.refuse(expect.refused)
            return
        await self.save(MAIN, case.flow)
        if expect.not_started is not UNSET:
            await self.expect_refusal(expect.not_started, self.start(case.input))
            return
        await self.start(case.input)
        for step in case.then:
            await self.settle()
            for does, what in step.items():
                await self.do(does, what)
        await self.let_time_run()
        await self.look(expect)

    async def set_config(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            await self.services.config.save(MARA, name, value, at=self.clock.now(), check=lambda _: None)

    async def save(self, name: str, revisions: str | Sequence[str]) -> None:
        for text in [revisions] if isinstance(revisions, str) else revisions:
            if name in self.flow_ids:
                await self.services.flows.update(_caller("admin"), self.flow_ids[name], FlowDraft(definition=text))
            else:
                saved = await self.services.flows.create(_caller("admin"), FlowDraft(definition=text, name=name))
                self.flow_ids[name] = saved.id

    async def refuse(self, expected: Sequence[Mapping[str, Any]]) -> None:
        try:
            await self.save(MAIN, self.case.flow)
        except InvalidFlow as error:
            self.compare("faults", expected, [_fault(f) for f in error.faults], partly=True)
        else:
            self.faults.append("the flow was saved, and is expected to be refused")

    async def start(self, input: Mapping[str, Any], name: str = MAIN) -> None:
        flow_id = self.flow_ids[MAIN]
        accepted = await self.services.executions.run(_caller("admin"), flow_id, input)
        self.executions[name] = accepted.id

    async def do(self, does: str, what: Any) -> None:
        services, id = self.services, self.executions[MAIN]
        match does, what:
            case "expect", dict():
                await self.look(_expectation(what))
            case "advance", str():
                await self.let_time_run(parse_duration(what))
            case "crash", True:
                await self.crash()
            case "release", str():
                self.peers.release(what)
            case "config", dict():
                await self.set_config(what)
            case "save", str():
                await self.save(MAIN, what)
            case "start", dict():
                name = what.get("as", "second")
                started = self.start(what.get("input", {}), name)
                await self.maybe_refused(what, started)
            case "signal", dict():
                sent = services.signals.send(_caller("admin"), id, what["key"], what.get("payload"))
                await self.maybe_refused(what, sent)
            case (("approve" | "reject"), dict()):
                caller = _caller(what.get("by", "admin"))
                answered = services.signals.answer(
                    caller, id, what["node"], approved=does == "approve", data=what.get("data")
                )
                await self.maybe_refused(what, answered)
            case "cancel", dict():
                of = await self.find(what.get("execution", MAIN))
                force = what.get("force", False)
                await self.maybe_refused(what, services.executions.cancel(_caller("admin"), of, force=force))
            case "rerun", dict():
                await self.maybe_refused(what, self.rerun(id, what))
            case _:
                raise ValueError(f"no step is written {does}: {what!r}")

    async def rerun(self, id: ExecutionId, what: Mapping[str, Any]) -> None:
        accepted = await self.services.reruns.rerun(
            _caller("admin"),
            id,
            RerunRequest(
                from_step=what.get("from"),
                input=what.get("input"),
                revision=what.get("revision", "current"),
                same_keys=what.get("idempotency") == "same",
            ),
        )
        self.executions["before"], self.executions[MAIN] = id, accepted.id

    async def maybe_refused(self, what: Mapping[str, Any], done: Awaitable[None]) -> None:
        if "refused" in what:
            await self.expect_refusal(what["refused"], done)
        else:
            await done

    async def expect_refusal(self, expected: Any, done: Awaitable[None]) -> None:
        """Expect a refusal with this message, or with these faults of the input."""
        try:
            await done
        except InvalidInput as error:
            seen: Any = str(error) if isinstance(expected, str) else [_fault(f) for f in error.faults]
            self.compare("refusal", expected, seen, partly=True)
        except (Conflict, Forbidden, NotFound) as error:
            self.compare("refusal", expected, str(error))
        else:
            self.faults.append(f"nothing was refused, and this is expected: {expected}")

    # Time

    async def settle(self) -> None:
        """Wait until nothing continues without a move of the clock or an input."""
        while True:
            await self._until_at_rest()
            if not self._continues_by_itself(await self._open_executions()):
                break
            await asyncio.sleep(0.01)
        if self.crashes_at_rest and self.peers.hanging == 0:
            await self.crash()
            await self._until_at_rest()

    async def let_time_run(self, seconds: float | None = None) -> None:
        """Move the clock from one due moment to the next, for ``seconds`` or to the end."""
        end = None if seconds is None else self.clock.now() + timedelta(seconds=seconds)
        while True:
            await self.settle()
            moments = [m for state, flow in await self._open_executions() if (m := _next_moment(state, flow))]
            moment = min(moments, default=None)
            if moment is None or (end is not None and moment > end):
                break
            await self._set_clock(moment)
        if end is not None:
            await self._set_clock(end)
            await self.settle()

    async def _set_clock(self, moment: datetime) -> None:
        ahead = (moment - self.clock.now()).total_seconds()
        if ahead > 0:
            self.clock.advance(seconds=ahead)
        await self.process.look_at_clock()

    async def _until_at_rest(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            # There is no notification of the last activity.
            while not await self._is_at_rest():  # noqa: ASYNC110
                await asyncio.sleep(0.002)

    async def _is_at_rest(self) -> bool:
        if await self.process.is_busy():
            return False
        open_ones = await self._open_executions()
        now = self.clock.now()
        if any((moment := _next_moment(state, flow)) is not None and moment <= now for state, flow in open_ones):
            # The clock moves each time it is read, and some moments are close together.
            await self.process.look_at_clock()
            return False
        running = [len(state.running) for state, _ in open_ones]
        return (
            sum(running) == self.peers.hanging
            and self.process.in_memory == sum(1 for count in running if count)
            and not await self.process.is_busy()
        )

    def _continues_by_itself(self, states: Sequence[tuple[ExecutionState, Flow]]) -> bool:
        """Return whether an attempt hangs that has a timeout in real time."""
        limits = [node_of(flow, state, step).timeout_seconds for state, flow in states for step in state.running]
        return any(limit is not None and limit <= _REAL_SECONDS for limit in limits)

    async def _open_executions(self) -> list[tuple[ExecutionState, Flow]]:
        services = self.services
        found = await services.executions.page(_caller("admin"), ExecutionFilter(), Page(limit=200))
        states = []
        for execution in found.items:
            if not execution.status.is_final:
                stored, events = await load_whole(services.journal, execution.id)
                state = replay(events)
                if state.ending is None:
                    states.append((state, await services.library.get(MARA, stored.revision_id)))
        return states

    # Comparison

    async def find(self, name: str) -> ExecutionId:
        """Return the execution of this name; `child` is the first of the flow of that name, `child.2` the second."""
        if name in self.executions:
            return self.executions[name]
        flow, _, number = name.partition(".")
        wanted = ExecutionFilter(flow_id=self.flow_ids[flow])
        found = await self.services.executions.page(_caller("admin"), wanted, Page(limit=200))
        return sorted(found.items, key=lambda e: e.started_at)[int(number or 1) - 1].id

    async def look(self, expect: Expectation, name: str = MAIN) -> None:
        """Compare the execution with the expectation, and add the differences to the faults."""
        id = await self.find(name)
        _, timed = await load_whole(self.services.journal, id)
        events = [event for event, _ in timed]
        self._compare_lists(expect, events)
        state = replay(timed)
        if expect.status is not UNSET:
            self.compare("status", expect.status, state.status.value)
        if expect.result is not UNSET:
            self.compare("result", expect.result, getattr(state.ending, "result", state.ending))
        if expect.input is not UNSET:
            self.compare("input", expect.input, state.input)
        if expect.error is not UNSET:
            self.compare("error", expect.error, _error(state.ending), partly=True)
        if expect.requests is not UNSET:
            self._compare_requests(expect.requests)
        if expect.waiting_for is not UNSET:
            detail = await self.services.executions.get(_caller("admin"), id)
            seen = None if detail.waiting_for is None else json.loads(detail.waiting_for)
            self.compare("waiting_for", expect.waiting_for, seen, partly=True)
        if expect.takes is not UNSET:
            seconds = (timed[-1][1] - timed[0][1]).total_seconds()
            # Executions that wait for older ones have less time left.
            least = 0 if name == MAIN else -_DRIFT_SECONDS
            if not least <= seconds - parse_duration(expect.takes) < _DRIFT_SECONDS:
                self.faults.append(f"it took {seconds} s, and {expect.takes} is expected")
        if expect.absent:
            await self._look_for(expect.absent)
        for other, expected in expect.executions.items():
            await self.look(expected, other)

    def _compare_lists(self, expect: Expectation, events: Sequence[Event]) -> None:
        if expect.path is not UNSET:
            self.compare("path", expect.path, path_of(events))
        for what, expected, seen in (
            ("steps", expect.steps, steps_of(events)),
            ("events", expect.events, lines_of(events)),
        ):
            if expected is UNSET:
                continue
            if expect.interleaved:
                self.compare(what, by_scope(expected), by_scope(seen))
            else:
                self.compare(what, expected, seen)
        if expect.log is not UNSET:
            said = [f"{e.level} {e.message}" for e in events if isinstance(e, Logged)]
            if not in_order(expect.log, said):
                self.faults.append(f"log: {said}\n  expected: {list(expect.log)}")

    def _compare_requests(self, expected: Sequence[Any]) -> None:
        seen = [_request(r) for r in self.peers.http.requests]
        wanted = [r if isinstance(r, Mapping) else {"url": r} for r in expected]
        self.compare("requests", wanted, seen, partly=True)

    async def _look_for(self, absent: Sequence[str]) -> None:
        published = b"".join(record.data for records in self.services.published.values() for record in records)
        everything = await self.process.stored() + published
        self.faults += [f"{text!r} is stored or sent" for text in absent if text.encode() in everything]

    def compare(self, what: str, expected: Any, seen: Any, *, partly: bool = False) -> None:
        if not fits(expected, seen, partly=partly):
            self.faults.append(f"{what}: {seen!r}\n  expected: {expected!r}")


@asynccontextmanager
async def rule_runner(
    backend: Backend, sandbox: Sandbox, case: Case, *, crashes_at_rest: bool = False
) -> AsyncIterator[RuleRunner]:
    opened = RuleRunner(backend, sandbox, case, crashes_at_rest)
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


def _caller(role: str) -> Caller:
    """Return Mara, whose workspace it is, for `admin`, or else Omar, a member with this role."""
    if role == "admin":
        return caller_of(MARA_ACCOUNT)
    (known,) = (known for known in WORKSPACE_ROLES if known == role)
    return member_caller_of(AccountId(OMAR), MARA, known)


def _expectation(written: Mapping[str, Any]) -> Expectation:
    import msgspec

    return msgspec.convert(written, Expectation)


def _next_moment(state: ExecutionState, flow: Flow) -> datetime | None:
    if state.is_queued:
        return None
    return min((m for m in (state.due_at, deadline_of(flow, state)) if m is not None), default=None)


def _error(ending: object) -> Any:
    if not isinstance(ending, Failed):
        return None
    more = {"step": ending.step, "attempt": ending.attempt, "input": ending.input}
    error = ending.error.as_json()
    assert isinstance(error, dict), "an error is an object"
    return {**error, **more}


def _fault(fault: Any) -> dict[str, Any]:
    return {
        "path": fault.path, "code": fault.code, "line": fault.line, "message": fault.message, "hint": fault.hint,
    }  # fmt: skip


def _request(request: Request) -> dict[str, Any]:
    body: Any = None if request.body is None else request.body.decode()
    if body is not None and "json" in request.headers.get("Content-Type", ""):
        body = json.loads(body)
    return {"method": request.method, "url": request.url, "headers": dict(request.headers), "body": body}
