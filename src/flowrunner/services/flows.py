"""Flows and their revisions: save, read, list, compare, restore and compile."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from flowrunner.domain.account import Caller
from flowrunner.domain.audit import AuditEntry, act
from flowrunner.domain.errors import Fault, PreconditionFailed, invalid
from flowrunner.domain.flow import Flow, NodeTypeSpec
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.values import JSON, FlowId, RevisionId, WorkspaceId
from flowrunner.language import read_stored_flow
from flowrunner.language.difference import Difference, difference
from flowrunner.ports.clock import Clock
from flowrunner.ports.executions import UsageReader
from flowrunner.ports.flows import FlowStore, FlowView, RevisionView, SavedFlow, SavedRevision
from flowrunner.ports.page import Page
from flowrunner.ports.secrets import SecretStore
from flowrunner.services.account_locks import AccountLocks
from flowrunner.services.ids import new_id
from flowrunner.services.language import Language, secrets_missing, unclear_calls
from flowrunner.services.weighed_cache import WeighedCache, memory_of

_MOST_CALLED: Final = 100
# Memory for compiled flows: of all accounts together, and of one. The largest flow takes about 8 MiB.
_READY_BYTES: Final = 128 * 1024 * 1024
_READY_BYTES_OF_AN_ACCOUNT: Final = 32 * 1024 * 1024
# Definitions per batch; each has up to 1 MiB.
_PURGE_BATCH: Final = 20
_PURGE_PAUSE_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowDraft:
    """A flow to save. Fields that are None are taken from the definition."""

    definition: str
    name: str | None = None
    description: str | None = None
    tags: Sequence[str] | None = None


class Flows:
    def __init__(
        self,
        store: FlowStore,
        secrets: SecretStore,
        language: Language,
        clock: Clock,
        *,
        usage: UsageReader,
        limits: WorkspaceLimits,
    ) -> None:
        self._store = store
        self._usage = usage
        self._limits = limits
        self._secrets = secrets
        self._language = language
        self._clock = clock
        # Definitions of one account are read one at a time: they share a CPU and the workers that check scripts.
        self._locks = AccountLocks()
        # A comparison keeps a CPU busy: one at a time leaves the other CPUs to executions.
        self._comparing = asyncio.Lock()

    async def create(self, caller: Caller, draft: FlowDraft) -> SavedFlow:
        """Raises: InvalidFlow with every fault; InvalidInput if it has no name; LimitReached."""
        await self._check_stored(caller)
        flow = await self._read(caller, draft.definition)
        now = self._clock.now()
        saved = SavedFlow(
            id=FlowId(new_id("flow", now)),
            name=_named(draft.name if draft.name is not None else flow.name),
            description=flow.description if draft.description is None else draft.description,
            version=flow.version,
            tags=flow.tags if draft.tags is None else draft.tags,
            created_at=now,
            updated_at=now,
            definition=draft.definition,
            revision_id=RevisionId(new_id("rev", now)),
            saved_by=caller.account_id,
        )
        entry = act(caller, "flow.created", "flow", saved.id, at=now)
        await self._store.create(caller.workspace_id, saved, most=self._limits.flows, audit=entry)
        return saved

    async def _read(self, caller: Caller, definition: str) -> Flow:
        """Raises: InvalidFlow with every fault; Unavailable."""
        async with self._locks.of(caller.workspace_id):
            return await self._language.read(definition)

    async def _check_stored(self, caller: Caller) -> None:
        """Raises: LimitReached if the account may not save another definition."""
        if self._limits.stored is not None:
            self._limits.check_stored(await self._usage.stored(caller.workspace_id))

    async def validate(self, caller: Caller, definition: str) -> Sequence[Fault]:
        """Return every fault and warning of a definition, missing secrets and flows included. Raises: Unavailable."""
        async with self._locks.of(caller.workspace_id):
            reading = await self._language.study(definition)
        known = {secret.key for secret in await self._secrets.list(caller.workspace_id)}
        missing = [*secrets_missing(reading, known), *unclear_calls(reading, await self._called(caller, reading.flows))]
        return sorted([*reading.faults, *missing], key=lambda fault: (fault.line or 0, fault.column or 0))

    async def _called(self, caller: Caller, names: Collection[str]) -> Mapping[str, int]:
        """Return how many flows have each of the names; only the first `_MOST_CALLED` names are looked up."""
        looked_at = list(names)[:_MOST_CALLED]
        return {name: len(await self._store.called(caller.workspace_id, name)) for name in looked_at}

    async def update(
        self,
        caller: Caller,
        id: FlowId,
        *,
        definition: str | None,
        name: str | None,
        description: str | None,
        tags: Sequence[str] | None,
        if_states: Collection[str] | None = None,
        restores: int | None = None,
    ) -> SavedFlow:
        """Change the given fields. A new definition also sets the metadata that are not given.

        Args:
            if_states: Required states of the flow; None accepts any.
            restores: The revision that the definition is taken from, for the audit log.

        Raises: NotFound, PreconditionFailed, InvalidFlow, InvalidInput; LimitReached for a new definition.
        """
        await self._store.get(caller.workspace_id, id)
        if definition is not None:
            await self._check_stored(caller)
        now = self._clock.now()
        revision_id = RevisionId(new_id("rev", now))
        flow = await self._read(caller, definition) if definition is not None else None

        def change(before: SavedFlow) -> SavedFlow:
            _check_state(before, if_states)
            is_new_revision = definition is not None and definition != before.definition
            return SavedFlow(
                id=id,
                name=_named(name if name is not None else (flow.name if flow else "") or before.name),
                description=(
                    description if description is not None else (flow.description if flow else "") or before.description
                ),
                version=flow.version if flow else before.version,
                tags=tags if tags is not None else (flow.tags if flow else ()) or before.tags,
                created_at=before.created_at,
                updated_at=now,
                definition=definition if definition is not None else before.definition,
                revision_id=revision_id if is_new_revision else before.revision_id,
                saved_by=caller.account_id if is_new_revision else before.saved_by,
            )

        def audit(after: SavedFlow) -> AuditEntry:
            details: dict[str, JSON] = {"revision": after.revision}
            if restores is not None:
                details["restores"] = restores
            action = "flow.updated" if restores is None else "flow.restored"
            return act(caller, action, "flow", id, at=now, details=details)

        return await self._store.update(caller.workspace_id, id, change, audit=audit)

    async def delete(self, caller: Caller, id: FlowId, *, if_states: Collection[str] | None = None) -> None:
        """Delete a flow; its running executions continue. Raises: NotFound, PreconditionFailed."""
        now = self._clock.now()
        entry = act(caller, "flow.deleted", "flow", id, at=now)
        await self._store.delete(
            caller.workspace_id, id, at=now, check=lambda flow: _check_state(flow, if_states), audit=entry
        )

    async def get(self, caller: Caller, id: FlowId) -> SavedFlow:
        """Raises: NotFound."""
        return await self._store.get(caller.workspace_id, id)

    async def page(self, caller: Caller, *, tag: str | None, page: Page) -> tuple[Sequence[FlowView], int]:
        return await self._store.page(caller.workspace_id, tag=tag, page=page)

    # Revisions

    async def revisions(self, caller: Caller, id: FlowId, *, page: Page) -> tuple[Sequence[RevisionView], int]:
        """Return a page of revisions, the newest first, and the total. Raises: NotFound."""
        return await self._store.revisions(caller.workspace_id, id, page=page)

    async def revision(self, caller: Caller, id: FlowId, number: int) -> SavedRevision:
        """Raises: NotFound."""
        return await self._store.revision(caller.workspace_id, id, number)

    async def compare(
        self, caller: Caller, id: FlowId, number: int, *, against: int | None
    ) -> tuple[Difference, int | None]:
        """Return the difference between an earlier revision and revision ``number``.

        Args:
            against: The revision to compare with; None is the previous one.

        Returns:
            The difference, and the number of the revision compared with; None if there is no previous one.

        Raises: NotFound.
        """
        after = await self._store.revision(caller.workspace_id, id, number)
        if against is None:
            before = await self._store.revision_before(caller.workspace_id, id, number)
        else:
            before = await self._store.revision(caller.workspace_id, id, against)
        text, name = (before.definition, f"revision {before.number}") if before else ("", "/dev/null")
        async with self._locks.of(caller.workspace_id), self._comparing:
            found = await asyncio.to_thread(
                difference, text, after.definition, names=(name, f"revision {after.number}")
            )
        return found, before.number if before else None

    async def restore(
        self, caller: Caller, id: FlowId, number: int, *, if_states: Collection[str] | None = None
    ) -> SavedFlow:
        """Save an old definition as a new revision, as `update` does.

        Raises: NotFound, PreconditionFailed, LimitReached; InvalidFlow if the language no longer accepts it.
        """
        old = await self._store.revision(caller.workspace_id, id, number)
        return await self.update(
            caller,
            id,
            definition=old.definition,
            name=None,
            description=None,
            tags=None,
            if_states=if_states,
            restores=number,
        )

    async def delete_revision(self, caller: Caller, id: FlowId, number: int) -> None:
        """Delete a revision; its ended executions stay.

        Raises: NotFound; Conflict if it is current, or an open execution needs it.
        """
        now = self._clock.now()
        entry = act(caller, "flow.revision.deleted", "flow", id, at=now, details={"revision": number})
        await self._store.delete_revision(caller.workspace_id, id, number, at=now, audit=entry)

    async def purge(self) -> None:
        """Erase deleted flows that have no executions left, in small batches."""
        has_more = True
        while has_more:
            has_more = await self._store.purge(limit=_PURGE_BATCH)
            # The pause lets running executions write first.
            await asyncio.sleep(_PURGE_PAUSE_SECONDS)


def _check_state(flow: SavedFlow, wanted: Collection[str] | None) -> None:
    if wanted is not None and flow.state not in wanted:
        raise PreconditionFailed("flow", revision=flow.revision, state=flow.state)


def _named(name: str) -> str:
    if not name.strip():
        raise invalid(
            "name", "Name is required", code="required", hint="give 'name', or 'metadata.name' in the definition"
        )
    return name


class CompiledFlowCache:
    """Implements `ports.CompiledFlows` with a cache of the revisions used last, bounded in memory.

    A revision never changes, so an entry never becomes stale.
    """

    def __init__(self, store: FlowStore, node_types: Mapping[str, NodeTypeSpec]) -> None:
        self._store = store
        self._node_types = node_types
        self._kept: WeighedCache[RevisionId, Flow] = WeighedCache(most=_READY_BYTES, share=_READY_BYTES_OF_AN_ACCOUNT)
        # One account must not occupy all threads: there are few, and host names are resolved on them too.
        self._locks = AccountLocks()

    async def get(self, workspace_id: WorkspaceId, revision_id: RevisionId) -> Flow:
        flow = self._kept.get(workspace_id, revision_id)
        if flow is None:
            async with self._locks.of(workspace_id):
                # Another task may have read it while this one waited.
                flow = self._kept.get(workspace_id, revision_id) or await self._read(workspace_id, revision_id)
        return flow

    async def _read(self, workspace_id: WorkspaceId, revision_id: RevisionId) -> Flow:
        definition = await self._store.definition(workspace_id, revision_id)
        # On a thread: the longest definition would block the event loop.
        flow, weight = await asyncio.to_thread(self._weighed, definition)
        self._kept.keep(workspace_id, revision_id, flow, weight)
        return flow

    def _weighed(self, definition: str) -> tuple[Flow, int]:
        flow = read_stored_flow(definition, self._node_types)
        return flow, memory_of(flow)
