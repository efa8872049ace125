"""Retention of ended executions: its rules, and the deletion of what has outlived them."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from flowrunner.domain.account import Caller
from flowrunner.domain.audit import AuditEntry, act
from flowrunner.domain.retention import RetentionRule
from flowrunner.domain.values import JSON, ExecutionId, FlowId
from flowrunner.ids import first_id
from flowrunner.ports.clock import Clock
from flowrunner.ports.retention import EndedExecutions, RetentionStore, RuledFlow

_NO_RULE: Final = RetentionRule()
_BATCH: Final = 200
_FLOWS_AT_ONCE: Final = 500
_SHORTEST_PAUSE_SECONDS: Final = 0.02
# Multiple of the time that a batch took, waiting for others included: what runs has most of the writer, also on a
# machine that is busy.
_PAUSE: Final = 2.0
# Callbacks usually tell of an end before it may be deleted.
_SETTLING: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionInForce:
    """The rule of a flow or a workspace, and the one that holds with those around it."""

    own: RetentionRule
    in_force: RetentionRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlived:
    """Executions that the next purge deletes.

    Attributes:
        flow_id: Their flow; None for those of all flows that are older than the installation keeps any.
    """

    flow_id: FlowId | None
    count: int
    size: int


class Retention:
    """Use cases of retention.

    Args:
        installation: The rule of the settings.
    """

    def __init__(self, store: RetentionStore, clock: Clock, *, installation: RetentionRule) -> None:
        self._store = store
        self._clock = clock
        self._installation = installation

    async def of_flow(self, caller: Caller, id: FlowId) -> RetentionInForce:
        """Return the rule of a flow. Raises: NotFound."""
        return self._in_force(*await self._store.of_flow(caller.workspace_id, id))

    async def set_of_flow(
        self, caller: Caller, id: FlowId, rule: RetentionRule, *, dry_run: bool = False
    ) -> RetentionInForce:
        """Replace the rule of a flow; a dry run returns what would be in force. Raises: NotFound."""
        if dry_run:
            _, around = await self._store.of_flow(caller.workspace_id, id)
            return self._in_force(rule, around)
        audit = self._entry(caller, "flow", id, rule)
        return self._in_force(*await self._store.set_of_flow(caller.workspace_id, id, rule, audit=audit))

    async def of_workspace(self, caller: Caller) -> RetentionInForce:
        """Return the rule of the workspace. Raises: NotFound."""
        return self._in_force(await self._store.of_workspace(caller.workspace_id))

    async def set_of_workspace(self, caller: Caller, rule: RetentionRule, *, dry_run: bool = False) -> RetentionInForce:
        """Replace the rule of the workspace; a dry run returns what would be in force. Raises: NotFound."""
        if dry_run:
            await self._store.of_workspace(caller.workspace_id)
            return self._in_force(rule)
        audit = self._entry(caller, "workspace", caller.workspace_id, rule)
        return self._in_force(await self._store.set_of_workspace(caller.workspace_id, rule, audit=audit))

    def _in_force(self, own: RetentionRule, around: RetentionRule = _NO_RULE) -> RetentionInForce:
        return RetentionInForce(own=own, in_force=own.within(around).in_installation(self._installation))

    def _entry(self, caller: Caller, kind: str, id: str, rule: RetentionRule) -> AuditEntry:
        details: dict[str, JSON] = {
            "max_age_seconds": None if rule.max_age is None else int(rule.max_age.total_seconds()),
            "max_count": rule.max_count,
        }
        return act(caller, f"{kind}.retention.changed", kind, id, at=self._clock.now(), details=details)

    async def purge(self) -> int:
        """Delete what has outlived its rule, in small batches; return how many executions were deleted."""
        # What ends after this has ended too late to be deleted.
        now, unreported = self._clock.now(), await self._store.unreported()
        total, has_more = 0, True
        while has_more:
            async with _leaving_time():
                purged, has_more = await self._store.purge(
                    ended_before=self._oldest(now), limit=_BATCH, unreported=unreported
                )
            total += purged
        async for flow in self._flows():
            for part in await self._parts(flow, now):
                total += await self._purge_part(part, unreported)
        has_more = True
        while has_more:
            async with _leaving_time():
                has_more = await self._store.give_space_back()
        return total

    async def _purge_part(self, part: EndedExecutions, unreported: Sequence[ExecutionId]) -> int:
        total, after = 0, ""
        # Looked up on a reading connection, because open executions may stand in between.
        while ids := await self._store.ids(part, after=after, limit=_BATCH, unreported=unreported):
            after, left = ids[-1], ids
            while left:
                async with _leaving_time():
                    purged, left = await self._store.delete(left)
                total += purged
        return total

    async def outlived(self) -> AsyncIterator[Outlived]:
        """Count what a purge would delete now."""
        now, unreported = self._clock.now(), await self._store.unreported()
        oldest = self._oldest(now)
        count, size = await self._store.count_before(oldest, unreported=unreported)
        if count:
            yield Outlived(flow_id=None, count=count, size=size)
        async for flow in self._flows():
            if parts := await self._parts(flow, now):
                count, size = await self._store.count(parts, since=oldest, unreported=unreported)
                if count:
                    yield Outlived(flow_id=flow.id, count=count, size=size)

    def _oldest(self, now: datetime) -> datetime:
        age = self._installation.max_age
        assert age is not None, "the settings have one"
        return now - age

    async def _flows(self) -> AsyncIterator[RuledFlow]:
        after, is_every = "", self._installation.max_count is not None
        while flows := await self._store.ruled_flows(after=after, limit=_FLOWS_AT_ONCE, is_every=is_every):
            for flow in flows:
                yield flow
            after = flows[-1].id

    async def _parts(self, flow: RuledFlow, now: datetime) -> Sequence[EndedExecutions]:
        """Return the executions of a flow that have outlived its rule, by age and by number."""
        rule = flow.rule.in_installation(self._installation)
        found: list[tuple[datetime, str]] = []
        if rule.max_age is not None and rule.max_age != self._installation.max_age:
            before = now - max(rule.max_age, _SETTLING)
            # What began later cannot have ended before.
            found.append((before, first_id("exec", before)))
        if rule.max_count is not None:
            last = await self._store.last_beyond(flow.workspace_id, flow.id, rule.max_count)
            if last is not None:
                found.append((now - _SETTLING, last))
        return [
            EndedExecutions(workspace_id=flow.workspace_id, flow_id=flow.id, before=before, up_to=up_to)
            for before, up_to in found
        ]


@contextlib.asynccontextmanager
async def _leaving_time() -> AsyncIterator[None]:
    """Pause after a batch, so that running executions write first."""
    began = time.monotonic()
    yield
    await asyncio.sleep(max(_SHORTEST_PAUSE_SECONDS, _PAUSE * (time.monotonic() - began)))
