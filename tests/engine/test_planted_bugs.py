"""The crash tests are worth something only if they catch what they are for.

Each test here plants a bug of the kind that the peers of this program have had, plays the scenario
of the crash tests, and asserts that a violation is found.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from flowrunner.dispatch.local import LocalDispatcher
from flowrunner.domain import decide as decide_module
from flowrunner.domain.causes import ChildOf
from flowrunner.domain.decide import decide
from flowrunner.domain.events import ScopeEnded
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.step_state import ScopeProgress
from flowrunner.domain.values import ExecutionId
from flowrunner.engine import actor
from flowrunner.engine.children import PendingNotifications
from flowrunner.engine.node_context import NodeContext
from flowrunner.ports.event_codec import stored_type
from flowrunner.ports.journal import (
    Append,
    DuplicateRequest,
    Fenced,
    Journal,
    StoredExecution,
    TakeEvents,
    load_whole,
)
from flowrunner.services.executions import Executions, StartRequest
from flowrunner.storage import appends, concurrency
from flowrunner.storage.database import Database
from flowrunner.storage.execution_terms import terms_of_start
from flowrunner.storage.journal import SqlJournal
from flowrunner.storage.rows import to_ms
from flowrunner.storage.transaction import Refused, Transaction, one_row
from support.databases import add_flows, completion, contents_of, creation, new_database_file, open_database

from .crash_plans import CRASH_PLANS
from .crashes import ORDINARY, CrashingJournal, CrashPlan, Fate, Moment, Scenario, Wrap

LOOP: Final = "a loop over four elements, two at once, of which one fails"
CALLS: Final = "a flow that waits for another, and starts a third without waiting"
QUEUED: Final = "executions that wait for a concurrency slot"


async def violations_of(
    directory: Path,
    moment: Moment,
    *,
    writes: Sequence[int] = range(1, 14),
    wrap: Wrap | None = None,
    plan: CrashPlan = ORDINARY,
) -> list[str]:
    """What is found when processes die at the given writes, one scenario each; stops at the first find."""
    for n in writes:
        scenario = Scenario(directory / f"{moment}-{n}.db", Fate([n], moment), plan, patience_seconds=1.0)
        if wrap is not None:
            scenario.wrap = wrap
        if violations := await scenario.play():
            return violations
    return []


class HastyJournal(CrashingJournal):
    """Answers for a new execution before it is durable."""

    def __init__(self, inner: Journal, fate: Fate, database: Database) -> None:
        super().__init__(inner, fate)
        self._under_way: dict[ExecutionId, asyncio.Task[None]] = {}

    async def append(self, append: Append) -> None:
        if append.create is not None and not self.fate.is_dead:
            creating = asyncio.ensure_future(super().append(append))
            # Nobody waits for it, which is the bug.
            creating.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._under_way[append.execution_id] = creating
            return
        if append.execution_id in self._under_way:
            await asyncio.shield(self._under_way[append.execution_id])
        await super().append(append)


async def test_an_answer_before_the_commit_is_caught(tmp_path: Path) -> None:
    violations = await violations_of(tmp_path, "before", wrap=HastyJournal)

    assert any("was accepted and is lost" in violation for violation in violations)


class TornJournal(CrashingJournal):
    """Writes the summary and the events in two transactions; who reads by it sees both, as long as it lives."""

    def __init__(self, inner: Journal, fate: Fate, database: Database) -> None:
        super().__init__(inner, fate)
        self._database = database
        self._writing = asyncio.Lock()

    async def append(self, append: Append) -> None:
        row = appends.summary_row(append)
        statement = appends.ADVANCE if append.create is None else appends.CREATE
        if append.create is not None:
            row["labels"], _ = terms_of_start(append.create, append.records[0].data)
        events = [
            (append.execution_id, r.seq, to_ms(r.at), stored_type(r.event), r.data.decode()) for r in append.records
        ]

        async def summary(tx: Transaction) -> None:
            try:
                count = await tx.run(statement, row)
            except Refused:
                raise DuplicateRequest(*await one_row(tx, appends.REQUEST, row)) from None
            if count != 1:
                raise Fenced

        await self.point("before")
        async with self._writing:
            await self._database.write(summary)
            await self.point("between")
            await self._database.write(lambda tx: tx.run_many(appends.ADD_EVENT, events))
        await self.point("after")

    async def load(self, id: ExecutionId, *more: Any) -> Any:
        async with self._writing:
            return await super().load(id, *more)


async def test_events_outside_the_transaction_are_caught(tmp_path: Path) -> None:
    violations = await violations_of(tmp_path, "between", wrap=TornJournal)

    assert any("its summary stands at event" in violation for violation in violations)


async def test_a_journal_in_two_transactions_without_a_crash_passes(tmp_path: Path) -> None:
    """It is the crash that shows the bug, not the double itself."""
    assert await violations_of(tmp_path, "between", writes=[0], wrap=TornJournal) == []


OVERWRITE = "UPDATE executions SET status = 'running', completed_at = NULL, error = NULL WHERE completed_at > 0"


class OverwritingJournal(CrashingJournal):
    """Takes everything for interrupted when a process starts, also what has ended."""

    def __init__(self, inner: Journal, fate: Fate, database: Database) -> None:
        super().__init__(inner, fate)
        self._database = database

    async def claim(self) -> int:
        epoch = await super().claim()
        await self._database.write(self._mark_all)
        return epoch

    async def _mark_all(self, tx: Transaction) -> None:
        await tx.run(OVERWRITE)


class OverwritingJournalWithoutTriggers(OverwritingJournal):
    async def _mark_all(self, tx: Transaction) -> None:
        await tx.run("DROP TRIGGER IF EXISTS executions_reject_change_after_end")
        await super()._mark_all(tx)


async def test_a_recovery_that_overwrites_a_final_state_is_caught(tmp_path: Path) -> None:
    violations = await violations_of(tmp_path, "before", writes=[0], wrap=OverwritingJournalWithoutTriggers)

    assert any("is running after ['execution.completed']" in violation for violation in violations)


async def test_the_database_itself_stops_a_recovery_that_overwrites_a_final_state(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="has ended"):
        await violations_of(tmp_path, "before", writes=[0], wrap=OverwritingJournal)


async def late_writes(path: Path) -> list[str]:
    """Which writes of a process that was taken over get through."""
    database = open_database(add_flows(new_database_file(path)))
    stored = SqlJournal(database)
    old = await stored.claim()
    await stored.append(creation("e1", epoch=old))
    await stored.claim()
    violations = []
    for append in (creation("e2", epoch=old), completion("e1", epoch=old)):
        before = contents_of(path)
        with contextlib.suppress(Fenced):
            await stored.append(append)
        if contents_of(path) != before:
            violations.append(f"a late write of {append.execution_id} was accepted")
    await database.close()
    return violations


async def test_no_late_write_gets_through(tmp_path: Path) -> None:
    assert await late_writes(tmp_path / "flowrunner.db") == []


async def test_a_journal_without_fencing_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fence = " WHERE :epoch = (SELECT epoch FROM engine)"
    create, advance = appends.CREATE.sqlite, appends.ADVANCE.sqlite
    assert fence in create
    assert " AND :epoch >= (SELECT epoch FROM engine) AND (" in advance
    unfenced = advance[: advance.index(" AND :epoch >=")]
    monkeypatch.setattr(appends, "CREATE", replace(appends.CREATE, sqlite=create.replace(fence, ""), sqlite_batch=None))
    monkeypatch.setattr(appends, "ADVANCE", replace(appends.ADVANCE, sqlite=unfenced, sqlite_batch=None))

    assert await late_writes(tmp_path / "flowrunner.db") == [
        "a late write of e2 was accepted",
        "a late write of e1 was accepted",
    ]


async def test_a_key_that_differs_between_tries_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def key(self: NodeContext) -> str:
        return f"{self.execution_id}.{self.node}.{self.iteration}.{self.attempt}"

    monkeypatch.setattr(NodeContext, "idempotency_key", property(key))

    violations = await violations_of(tmp_path, "before", writes=[0])

    assert any("which is that of no step" in violation for violation in violations)


async def test_a_timer_that_fires_early_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def early(*args: Any, now: datetime, **more: Any) -> Any:
        return decide(*args, now=now + timedelta(days=1), **more)

    monkeypatch.setattr(actor, "decide", early)

    violations = await violations_of(tmp_path, "before", writes=[0])

    assert any("waited until" in violation for violation in violations)


class ForgetfulJournal(CrashingJournal):
    """Gives a process that starts the events up to the last start of a node, as if no result had been kept."""

    async def load(self, id: ExecutionId, take: TakeEvents, *_: Any) -> StoredExecution:
        stored, events = await load_whole(self._inner, id)
        starts = [i for i, (event, _) in enumerate(events) if event.type == "node.started"]
        await take(events[: starts[-2] + 1] if len(starts) > 1 and not stored.status.is_final else events)
        return stored


async def test_a_process_that_forgets_results_gets_nowhere_and_is_caught(tmp_path: Path) -> None:
    violations = await violations_of(
        tmp_path, "after", writes=[4], wrap=lambda inner, fate, database: ForgetfulJournal(inner, fate)
    )

    assert any("has not ended" in violation or "which has completed" in violation for violation in violations)


# Scopes, children and concurrency slots


async def test_a_key_that_forgets_which_element_it_is_for_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(self: NodeContext) -> str:
        return f"{self.execution_id}.{self.node}.{self.iteration}"

    monkeypatch.setattr(NodeContext, "idempotency_key", property(key))

    violations = await violations_of(tmp_path, "before", writes=[0], plan=CRASH_PLANS[LOOP])

    assert any("which is that of no step" in violation for violation in violations)


async def test_a_loop_that_runs_more_at_once_than_it_may_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_full = ScopeProgress.may_start_more.fget  # type: ignore[attr-defined]

    def may_start_more(self: ScopeProgress) -> bool:
        return is_full(replace(self, active={})) if self.inputs else False

    def begin(flow: Any, state: Any, current: Any) -> Any:
        return begin_scopes(flow, state, replace(current, open=replace(current.open, active={})))

    begin_scopes = decide_module._begin_scopes
    monkeypatch.setattr(ScopeProgress, "may_start_more", property(may_start_more))
    monkeypatch.setattr(decide_module, "_begin_scopes", begin)

    violations = await violations_of(tmp_path, "before", writes=[0], plan=CRASH_PLANS[LOOP])

    assert any("beside it are under way" in violation for violation in violations)


class AmnesicJournal(CrashingJournal):
    """Gives a process that starts an execution without the ends of its loops' runs."""

    async def load(self, id: ExecutionId, take: TakeEvents, *_: Any) -> StoredExecution:
        stored, events = await load_whole(self._inner, id)
        last = next((i for i, (event, _) in enumerate(events) if isinstance(event, ScopeEnded)), len(events))
        await take(events if stored.status.is_final else events[:last])
        return stored


async def test_a_process_that_forgets_which_elements_are_done_is_caught(tmp_path: Path) -> None:
    wrap: Wrap = lambda inner, fate, database: AmnesicJournal(inner, fate)  # noqa: E731

    violations = await violations_of(tmp_path, "after", writes=range(4, 7), wrap=wrap, plan=CRASH_PLANS[LOOP])

    assert any("has not ended" in violation or "recorded attempts" in violation for violation in violations)


async def test_a_child_that_is_started_again_after_a_crash_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = Executions.accept

    async def forgetful(self: Executions, asked: StartRequest) -> Any:
        if isinstance(asked.cause, ChildOf):
            asked = replace(asked, idempotency_key=str(uuid4()))
        return await accept(self, asked)

    monkeypatch.setattr(Executions, "accept", forgetful)

    violations = await violations_of(tmp_path, "after", writes=range(3, 8), plan=CRASH_PLANS[CALLS])

    assert any("has started 2 executions" in violation for violation in violations)


async def test_a_parent_that_never_gets_an_end_it_missed_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(self: LocalDispatcher, pairs: Any) -> None:
        """Settles nothing."""

    monkeypatch.setattr(LocalDispatcher, "_reconcile_children", nothing)

    violations = await violations_of(tmp_path, "before", writes=range(5, 14), plan=CRASH_PLANS[CALLS])

    assert any("has not ended" in violation for violation in violations)


async def test_children_that_are_left_running_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PendingNotifications, "leave", lambda self, current: None)
    monkeypatch.setattr(LocalDispatcher, "_reconcile_children", lambda self, pairs: asyncio.sleep(0))

    violations = await violations_of(
        tmp_path, "before", writes=[0], plan=CRASH_PLANS["cancelling a flow that waits for another"]
    )

    assert any("has not ended" in violation for violation in violations)


async def test_a_limit_that_is_not_counted_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = "OR :concurrency_limit > (SELECT count(*)"
    assert count in appends.CREATE.sqlite
    uncounted = appends.CREATE.sqlite.replace(count, "OR 99 > (SELECT count(*)")
    monkeypatch.setattr(appends, "CREATE", replace(appends.CREATE, sqlite=uncounted, sqlite_batch=None))
    looked_at = concurrency.HAS_FREE_SLOT.replace("> (SELECT count(*)", "> (SELECT 0 * count(*)")
    monkeypatch.setattr(concurrency, "HAS_FREE_SLOT", looked_at)

    violations = await violations_of(tmp_path, "before", writes=[0], plan=CRASH_PLANS[QUEUED])

    assert any("under way together" in violation for violation in violations)


async def test_an_execution_that_does_not_wait_for_its_slot_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actor, "decide", lambda flow, state, **more: decide(flow, unqueued(state), **more))

    violations = await violations_of(tmp_path, "before", writes=[0], plan=CRASH_PLANS[QUEUED])

    assert any("begins before it has a slot" in violation for violation in violations)


def unqueued(state: ExecutionState) -> ExecutionState:
    return replace(state, is_queued=False) if state.is_queued else state


async def test_a_slot_that_is_never_passed_on_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalDispatcher, "release_slot", lambda self, key: None)
    monkeypatch.setattr(LocalDispatcher, "_reconcile_queue", lambda self, key: asyncio.sleep(0))

    violations = await violations_of(tmp_path, "before", writes=[0], plan=CRASH_PLANS[QUEUED])

    assert any("has not ended" in violation for violation in violations)


async def test_a_step_that_goes_on_without_its_signal_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def early(*args: Any, now: datetime, **more: Any) -> Any:
        return decide(*args, now=now + timedelta(days=30), **more)

    monkeypatch.setattr(actor, "decide", early)

    violations = await violations_of(tmp_path, "before", writes=[0], plan=CRASH_PLANS["signals and an approval"])

    assert any("without the signal" in violation for violation in violations)
