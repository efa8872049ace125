"""Secrets in flows: used by nodes, and hidden in all that is recorded."""

import asyncio
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from flowrunner.domain.causes import Requested
from flowrunner.domain.errors import RedactionLimit, Unavailable
from flowrunner.domain.events import (
    ROOT,
    Completed,
    ErrorValue,
    Failed,
    InputEdited,
    Logged,
    NodeCompleted,
    NodeFailed,
    NodeWaiting,
    ScopeEnded,
    ScopesOpened,
    SignalReceived,
    Started,
)
from flowrunner.domain.link_tokens import LINK_TOKEN_PREFIX
from flowrunner.domain.status import Status
from flowrunner.domain.values import JSON, ExecutionId, WorkspaceId
from flowrunner.domain.waits import ApprovalWait, SignalWait
from flowrunner.engine.recorder import LinkHidingRedactor, storable
from flowrunner.plugin import HttpAnswer
from flowrunner.ports.dispatch import Signal
from flowrunner.security import redactors
from flowrunner.security.vault import AesVault, MasterKeys
from flowrunner.storage.secrets import SqlSecrets
from support.databases import MARA, OMAR, rows_of
from support.dependencies import Acting, Machine, Request, answer, machine, secret

from .events import ending


@pytest.fixture
def reopened(engine: Machine) -> AesVault:
    """The vault of another process on the database."""
    return AesVault(SqlSecrets(engine.database), MasterKeys(bytes(range(32))), engine.clock)


@pytest.fixture(params=["those used last", "none"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the redactors that were used last and that nobody holds in memory, or none of them."""
    if request.param == "none":
        monkeypatch.setattr(redactors, "MOST_BYTES", 0)


async def test_a_process_that_begins_while_others_are_told_of_a_secret_hides_it_too(engine: Machine) -> None:
    began: list[bool] = []

    class OneThatBegins:
        """Processes, of which one asks for the values of the workspace while another one is told of a new one."""

        async def hide(self, workspace_id: WorkspaceId, values: Collection[str]) -> None:
            began.append("value-of-a-new-secret" in await engine.vault.hidden(workspace_id))

        def forget(self, workspace_id: WorkspaceId) -> None: ...

    engine.vault.watcher = OneThatBegins()

    await secret(engine, "KEY", "value-of-a-new-secret")

    assert began == [True]


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


@pytest.mark.parametrize(
    ("node", "key", "described"),
    [
        ("{type: wait, params: {key: the approval}}", "signal:the approval", {"type": "signal", "key": "the ***"}),
        (
            "{type: approval, params: {prompt: My approval?, form: {title: approval}}}",
            "approval:approval.1",
            {"type": "approval", "prompt": "My ***?", "form": {"title": "***"}},
        ),
    ],
)
async def test_secrets_are_hidden_in_a_wait_but_not_its_type_and_its_step(
    engine: Machine, path: Path, node: str, key: str, described: dict[str, object]
) -> None:
    await secret(engine, "KEY", "approval")
    await engine.save(f"nodes: {{approval: {node}}}")
    await engine.start()
    await engine.until_parked()

    (shown,) = rows_of(path, "SELECT waiting_for FROM executions")
    (wait,) = json.loads(shown[0])
    wait.pop("since", None)
    assert wait == {"node": "approval", "step": "approval.1", "until": None, **described}
    answer: JSON = {"approved": True, "by": MARA, "data": None}
    assert await engine.dispatcher.signal(ExecutionId("exec-1"), Signal(key=key, payload=answer, if_awaited=True))
    assert await engine.until_ended() is Status.COMPLETED


async def test_a_secret_that_is_the_action_of_a_deadline_changes_no_course(engine: Machine) -> None:
    await secret(engine, "KEY", "timeout")
    await engine.save(
        """
        nodes:
          ask: {type: wait, params: {key: go, timeout: 1h}, next: {timeout: late, default: other}}
          late: {type: return, params: {value: late}}
          other: {type: return, params: {value: other}}
        """
    )
    await engine.start()
    await engine.until_parked()

    engine.clock.advance(hours=1)
    engine.look_at_timers()

    assert await engine.until_ended() is Status.COMPLETED
    assert ending(await engine.events()).result == "late"


async def test_a_link_that_answers_an_approval_is_hidden_wherever_it_stands(engine: Machine) -> None:
    link = f"{LINK_TOKEN_PREFIX}exec-1.abc_def"
    value: JSON = {link: [f"see {link}", {"n": 1, "deep": [{link: link}]}], "n": 2}
    redactor = LinkHidingRedactor(await engine.vault.redactor(MARA))

    hidden = {"***": ["see ***", {"n": 1, "deep": [{"***": "***"}]}], "n": 2}
    assert redactor.redact(value) == await redactor.redact_soon(value) == hidden


async def test_an_unknown_secret_is_an_error_that_names_it(engine: Machine) -> None:
    events = await engine.run("nodes: {a: {type: transform, params: {value: '${secrets.MISSING}'}}}")

    assert "MISSING" in ending(events).error.message
    assert ending(events).error.type == "expression"


ECHO: Final = "nodes: {a: {type: return, params: {value: '${input}'}}}"
WAIT: Final = "nodes: {a: {type: wait, params: {key: go}}}"
BOTH: Final = "the-first-value the-second-value"


async def _echo(engine: Machine, id: str) -> object:
    return ending(await engine.run(ECHO, BOTH, id=id)).result


async def _a_minute_later(engine: Machine, vault: AesVault) -> None:
    engine.clock.advance(seconds=61)
    await vault.forget_replaced()


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("way", ["replaced", "deleted"])
async def test_a_secret_that_was_replaced_is_hidden_while_an_execution_is_open_that_began_before(
    engine: Machine, way: str
) -> None:
    await secret(engine, "KEY", "the-first-value")
    await engine.save(WAIT)
    await engine.start(id="exec-1")
    await engine.start(id="exec-2")
    if way == "replaced":
        await secret(engine, "KEY", "the-second-value")
    else:
        await secret(engine, "OTHER", "the-second-value")
        await engine.vault.delete(MARA, "KEY")

    await _a_minute_later(engine, engine.vault)
    await _a_minute_later(engine, engine.vault)
    assert await _echo(engine, "exec-3") == "*** ***"

    # What begins afterwards keeps nothing.
    await engine.start(id="exec-4")
    for number, shown in ((1, "*** ***"), (2, "the-first-value ***")):
        await engine.dispatcher.signal(ExecutionId(f"exec-{number}"), Signal(key="signal:go", payload=None))
        await engine.until_ended(f"exec-{number}")
        await _a_minute_later(engine, engine.vault)
        await _a_minute_later(engine, engine.vault)
        assert await _echo(engine, f"exec-{number + 4}") == shown


@pytest.mark.usefixtures("kept")
async def test_an_execution_hides_the_secrets_that_are_set_while_it_runs(engine: Machine) -> None:
    await secret(engine, "KEY", "the-first-value")
    held = await engine.vault.redactor(MARA)

    await engine.vault.redactor(OMAR)
    await secret(engine, "OTHER", "the-second-value")

    assert held.redact("the-first-value the-second-value") == "*** ***"
    assert await engine.vault.redactor(MARA) is held


@pytest.mark.usefixtures("kept")
async def test_a_secret_that_was_replaced_is_hidden_for_a_minute_though_nothing_is_open(engine: Machine) -> None:
    await secret(engine, "KEY", "the-first-value")
    await secret(engine, "KEY", "the-second-value")

    await engine.vault.forget_replaced()
    assert await _echo(engine, "exec-1") == "*** ***"

    await _a_minute_later(engine, engine.vault)
    assert await _echo(engine, "exec-2") == "the-first-value ***"


@pytest.mark.usefixtures("kept")
async def test_replaced_secrets_of_all_workspaces_are_forgotten_though_the_database_was_away(
    engine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault, workspaces = engine.vault, (MARA, OMAR)

    async def away(workspace_id: WorkspaceId) -> None:
        raise Unavailable("The database cannot be read at the moment")

    async def shown() -> list[JSON]:
        return [(await vault.redactor(id)).redact("the-first-value") for id in workspaces]

    for id in workspaces:
        for value in ("the-first-value", "the-second-value"):
            await vault.set(id, "KEY", value, at=engine.clock.now())
    assert await shown() == ["***", "***"]
    with monkeypatch.context() as outage:
        outage.setattr(vault._store, "open_since", away)
        with pytest.raises(Unavailable):
            await _a_minute_later(engine, vault)

    for _ in range(2):
        await _a_minute_later(engine, vault)

    assert await shown() == ["the-first-value", "the-first-value"]


async def test_a_value_that_comes_back_is_hidden_for_as_long_as_it_is_there(engine: Machine) -> None:
    for value in ("the-first-value", "the-second-value", "the-first-value"):
        await secret(engine, "KEY", value)
    await secret(engine, "OTHER", "the-second-value")

    for _ in range(3):
        await _a_minute_later(engine, engine.vault)

    assert await _echo(engine, "exec-1") == "*** ***"


async def test_a_process_forgets_what_another_one_replaced_and_keeps_what_it_hides(
    engine: Machine, reopened: AesVault
) -> None:
    await secret(engine, "KEY", "the-first-value")
    assert await reopened.reveal(MARA, ["KEY"]) == {"KEY": "the-first-value"}
    await engine.save(WAIT)
    await engine.start(id="exec-1")
    await secret(engine, "KEY", "the-second-value")

    async def shown() -> object:
        reopened.mark_stale()
        return (await reopened.redactor(MARA)).redact(BOTH)

    assert await shown() == "*** ***"
    await _a_minute_later(engine, reopened)
    assert await shown() == "*** ***"
    await engine.dispatcher.signal(ExecutionId("exec-1"), Signal(key="signal:go", payload=None))
    await engine.until_ended("exec-1")
    await _a_minute_later(engine, reopened)
    assert await shown() == "the-first-value ***"


# Too much to hide: many secrets that end with the same characters, and a text of nothing else.
ALIKE: Final = 40
RUN: Final = 600_000


async def _hard_to_hide(engine: Machine) -> None:
    for number in range(ALIKE):
        await secret(engine, f"KEY_{number}", f"{number:08}" + "a" * 8000)


class Exhausted:
    """A redactor that finds secrets, and cannot hide them. Implements `ports.Redactor`."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()

    def redact(self, value: JSON) -> JSON:
        raise RedactionLimit(1)

    async def redact_soon(self, value: JSON) -> JSON:
        raise RedactionLimit(1)

    def found_in(self, encoded: bytes) -> bool:
        return b"the-secret" in encoded


SECRET: Final = "the-secret"
OF_STEP: Final[Any] = {"node": "n", "node_type": "t", "iteration": 1, "attempt": 1}
HELD: Final = ErrorValue(type=f"x.{SECRET}", message=SECRET, data=[SECRET])
EVENTS_WITH_SECRETS: Final = (
    Started(node="n", node_type="t", input=SECRET, cause=Requested(by=None), labels={"l": SECRET}),
    NodeCompleted(**OF_STEP, action=SECRET, result=SECRET, vars={"v": SECRET}, collected={"0": SECRET}),
    NodeFailed(**OF_STEP, error=HELD),
    NodeWaiting(**OF_STEP, wait_for=SignalWait(SECRET, {"type": "w", "d": SECRET}), result=SECRET, action=SECRET),
    NodeWaiting(**OF_STEP, wait_for=ApprovalWait(SECRET, {"title": SECRET}, members=[SECRET])),
    ScopesOpened(**OF_STEP, keys=["0"], inputs=[SECRET], concurrency=1, needed=1, details=SECRET),
    ScopeEnded(scope=ROOT, outcome="completed", result=SECRET),
    ScopeEnded(scope="n.1[0]", outcome="completed", result=SECRET, part_bytes=12),
    ScopeEnded(scope="n.1[0]", outcome="failed", error=HELD),
    SignalReceived(key=f"signal:{SECRET}", payload=SECRET),
    InputEdited(node="n", iteration=1, input=SECRET),
    Logged(level="info", message=SECRET, data=SECRET),
    Completed(result=SECRET),
    Failed(error=HELD, input=SECRET),
)


@pytest.mark.parametrize("event", EVENTS_WITH_SECRETS, ids=lambda event: type(event).__name__)
def test_s26_nothing_is_stored_of_an_event_in_which_secrets_cannot_be_hidden(event: Any) -> None:
    try:
        stored = storable(event, Exhausted())
    except RedactionLimit:
        # Its sender gets the error.
        assert isinstance(event, Started | SignalReceived | InputEdited)
        return

    assert SECRET.encode() not in stored.data
    assert SECRET not in str(stored.event)


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


async def test_s26_a_crash_whose_words_cannot_be_cleared_of_secrets_ends_its_node_and_is_logged_without_them(
    path: Path,
) -> None:
    async def crash(value: object, context: object) -> None:
        raise RuntimeError("a" * RUN)

    async with machine(path, types=[Acting("crash", crash)]) as engine:
        await _hard_to_hide(engine)
        with capture_logs() as lines:
            events = await engine.run("nodes: {a: {type: crash, next: {error: b}}, b: {type: return}}")

    assert isinstance(ending(events), Completed)
    (line,) = [line for line in lines if line["event"] == "node.crashed"]
    assert line["exception"].endswith("RuntimeError (cannot be shown)")
    assert "in crash" in line["exception"]
    assert "aaaa" not in line["exception"]


async def test_s26_a_crash_is_logged_without_secrets_while_the_database_is_away(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with machine(path, types=[Acting("crash", crash_with_secret)]) as engine:
        await secret(engine, "KEY", "a-value-of-some-length")
        redactor = engine.vault.redactor

        async def away(workspace_id: WorkspaceId) -> object:
            raise Unavailable("The database cannot be read at the moment")

        async def once(workspace_id: WorkspaceId) -> object:
            monkeypatch.setattr(engine.vault, "redactor", away)
            return await redactor(workspace_id)

        monkeypatch.setattr(engine.vault, "redactor", once)
        with capture_logs() as lines:
            events = await engine.run("nodes: {a: {type: crash, next: {error: b}}, b: {type: return}}")

    assert isinstance(ending(events), Completed)
    (line,) = [line for line in lines if line["log_level"] == "error"]
    assert line["event"] == "node.crashed"
    assert "RuntimeError: ***" in line["exception"]


async def crash_with_secret(value: object, context: object) -> None:
    raise RuntimeError("a-value-of-some-length")


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
