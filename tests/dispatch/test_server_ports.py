"""What an engine process asks of its server: each call reaches the part of the server with all that it was given."""

import asyncio
import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final, Protocol

import pytest

from flowrunner.dispatch.processes import server_ports
from flowrunner.dispatch.processes.requests import ProcessRequests, ServerParts
from flowrunner.domain.causes import ChildOf
from flowrunner.domain.status import Status
from flowrunner.domain.store import StoreChange, StoreKey, StoreStep
from flowrunner.domain.values import ExecutionId, FlowId, RevisionId, WorkspaceId
from flowrunner.plugin import SubFlow
from flowrunner.ports.concurrency import ConcurrencySlot
from flowrunner.ports.dispatch import ExecutionLinks, Signal, SubFlowStarter
from flowrunner.ports.flows import Definitions
from flowrunner.ports.journal import Journal, StoredExecution
from flowrunner.ports.live import Broadcast
from flowrunner.ports.secrets import SecretReader
from flowrunner.ports.store import StepStore
from flowrunner.ports.telemetry import TRACEPARENT
from support.waiting import PATIENCE_SECONDS

from .test_channel import connected

# They do nothing there, are refused there, or are made of several messages, which `test_channel` has.
OTHERS: Final = {
    ("ServerBroadcast", "publish"), ("ServerJournal", "acquire"), ("ServerJournal", "append"),
    ("ServerJournal", "claim"), ("ServerJournal", "epoch"), ("ServerJournal", "events"), ("ServerJournal", "load"),
    ("ServerMemory", "loading"),
}  # fmt: skip


class Secrets(SecretReader, Protocol):
    async def hidden(self, workspace_id: WorkspaceId) -> Collection[str]: ...


# The parts of the server, with what each can do.
PARTS: Final[Mapping[str, Any]] = {
    "broadcast": Broadcast,
    "definitions": Definitions,
    "flows": SubFlowStarter,
    "journal": Journal,
    "links": ExecutionLinks,
    "store": StepStore,
    "vault": Secrets,
}
GIVEN: Final[Mapping[str, Any]] = {
    "at": StoreKey("space", "k\u00e9"),
    "cause": ChildOf(
        execution_id=ExecutionId("exec-1"), step="s", failures=2, flows=(FlowId("f-1"), FlowId("f-2")),
        is_awaited=False, depth=7,
    ),
    "input": {"n": [1, {"x": None}]},
    "change": StoreChange(
        operation="increment", at=StoreKey("space", "k"), value="v", amount=-3, ttl_ms=5,
        step=StoreStep(execution_id="exec-1", digest="d"),
    ),
    "limit": 9,
    "names": ["A", "B"],
    "now": datetime(2027, 1, 31, tzinfo=UTC),
    "signal": Signal(key="k", request="r", by="b", step="s.1", payload={"p": [1]}),
    "version": 7,
}  # fmt: skip
RESULTS: Final[Mapping[str, Any]] = {
    "change": {"created": True},
    "definition": "nodes: {}",
    "hidden": ["one", "\ud800two"],
    "keys": ["k-1", "k-2"],
    "revision": RevisionId("r-7"),
    "reveal": {"A": "a\ud800", "B": "b"},
    "value": "[1]",
    "start": SubFlow(execution_id="exec-2", flow_id="flow-2"),
    "stored": StoredExecution(
        id=ExecutionId("exec-1"), workspace_id=WorkspaceId("w-1"), flow_id=FlowId("f-1"), revision_id=RevisionId("r-1"),
        status=Status.WAITING, workspace_is_gone=True, size=5, last_seq=6, parent_id=ExecutionId("exec-9"),
        slot=ConcurrencySlot("key", 3, True),
    ),
}  # fmt: skip


def calls() -> Iterator[Any]:
    for name, kind in vars(server_ports).items():
        if inspect.isclass(kind) and kind.__module__ == server_ports.__name__ and not name.startswith("_"):
            for method, function in vars(kind).items():
                if not method.startswith("_") and (name, method) not in OTHERS:
                    yield pytest.param(kind, method, function, id=f"{name}.{method}")


def part(kind: Any, called: "asyncio.Future[inspect.BoundArguments]") -> Any:
    """Return a part of the server that notes how it is called, with the methods of a protocol."""

    def noting(name: str, function: Any) -> Callable[..., Any]:
        def note(*arguments: Any, **named: Any) -> Any:
            called.set_result(inspect.signature(function).bind(*arguments, **named))
            return RESULTS.get(name)

        async def note_later(*arguments: Any, **named: Any) -> Any:
            return note(*arguments, **named)

        return functools.wraps(function)(note_later if inspect.iscoroutinefunction(function) else note)

    methods = {name: noting(name, each) for base in kind.__mro__ for name, each in vars(base).items() if callable(each)}
    return type(kind.__name__, (), {name: each for name, each in methods.items() if not name.startswith("_")})()


@pytest.mark.parametrize(("port", "name", "function"), list(calls()))
async def test_a_call_reaches_the_server_with_all_that_it_was_given(port: Any, name: str, function: Any) -> None:
    called: asyncio.Future[inspect.BoundArguments] = asyncio.get_running_loop().create_future()
    seen: list[str] = []
    parts = {each: part(kind, called) for each, kind in PARTS.items()}
    flows_start = parts["flows"].start

    async def start(*arguments: Any, **named: Any) -> Any:
        seen.append(TRACEPARENT.get())
        return await flows_start(*arguments, **named)

    parts["flows"].start = start
    definitions, vault = parts["definitions"], parts["vault"]
    deps: Any = SimpleNamespace(**parts, memory=None)
    given = {each: GIVEN.get(each, f"{each}-1") for each in inspect.signature(function).parameters if each != "self"}
    async with connected() as (process, server):
        requests = ProcessRequests(
            ServerParts(deps=deps, definitions=definitions, hidden=vault.hidden, link_key=bytes), server
        )
        server.serve(requests.handlers)
        TRACEPARENT.set("00-trace")

        result = port(process).__getattribute__(name)(**given)
        if inspect.isawaitable(result):
            result = await result
        arguments = (await asyncio.wait_for(called, PATIENCE_SECONDS)).arguments

    assert {each: value for each, value in arguments.items() if each != "self"} == given
    assert result == RESULTS.get(name)
    assert seen == (["00-trace"] if name == "start" else [])
