"""Flows and their revisions: save, read, list, compare, restore and compile."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.domain.audit import AuditEntry, act
from flowrunner.domain.errors import Fault
from flowrunner.domain.flow import Flow
from flowrunner.domain.flow_tools import PublishedFlow
from flowrunner.domain.limits import WorkspaceLimits, check_count
from flowrunner.domain.values import JSON, FlowId
from flowrunner.language.difference import Difference, difference
from flowrunner.language.sketch import Sketch
from flowrunner.ports.clock import Clock
from flowrunner.ports.config import ConfigStore
from flowrunner.ports.flows import (
    ALL_FLOWS,
    Deployment,
    FlowChange,
    FlowFilter,
    FlowStore,
    FlowView,
    NamedChange,
    RevisionView,
    SavedFlow,
    SavedRevision,
)
from flowrunner.ports.page import Page
from flowrunner.ports.secrets import SecretStore
from flowrunner.ports.usage import UsageReader
from flowrunner.services.account_locks import AccountLocks
from flowrunner.services.flow_changes import (
    MAX_NAME_CHARACTERS,
    FlowChanger,
    FlowDraft,
    Metadata,
    check_name,
    check_precondition,
    missing_of,
)
from flowrunner.services.flow_reader import missing_names
from flowrunner.services.language import (
    Language,
    past_schedules,
    unclear_calls,
    unknown_sources,
)
from flowrunner.services.preconditions import ANY, Precondition
from flowrunner.services.short_commits import commit_in_portions

_MOST_CALLED: Final = 100
_COPY_OF: Final = "Copy of "
# Definitions per batch; each has up to 1 MiB.
_PURGE_BATCH: Final = 20
_PURGE_PAUSE_SECONDS: Final = 0.02
_UNREAD_AT_ONCE: Final = 20


class Flows:
    def __init__(
        self,
        store: FlowStore,
        secrets: SecretStore,
        config: ConfigStore,
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
        self._config = config
        self._language = language
        self._clock = clock
        # Definitions of one account are read one at a time: they share a CPU and the workers that check scripts.
        self._locks = AccountLocks()
        # A comparison keeps a CPU busy: one at a time leaves the other CPUs to executions.
        self._comparing = asyncio.Lock()

    async def create(
        self, caller: Caller, draft: FlowDraft, *, dry_run: bool = False, details: Mapping[str, JSON] | None = None
    ) -> SavedFlow:
        """Save a new flow.

        Args:
            dry_run: Return what would be saved, and save nothing.
            details: The origin of the definition, for the audit log.

        Raises: InvalidFlow with every fault; InvalidInput if it has no definition or no name; LimitReached.
        """
        changer = await self.changer(caller, draft)
        saved = changer.created()
        if dry_run:
            await self._check_count(caller)
            await self._store.check_writable(caller.workspace_id, [FlowChange(None, saved)])
            return saved
        entry = act(caller, "flow.created", "flow", saved.id, at=changer.at, details=details)
        await self._store.create(caller.workspace_id, saved, most=self._limits.flows, audit=entry)
        return saved

    async def _check_count(self, caller: Caller) -> None:
        """Raises: LimitReached if the workspace may not have another flow."""
        _, count = await self._store.page(caller.workspace_id, page=Page(limit=1, offset=0))
        check_count("flows", count, self._limits.flows, limit="workspace_flows")

    async def put_named(
        self,
        caller: Caller,
        name: str,
        draft: FlowDraft,
        *,
        condition: Precondition = ANY,
        dry_run: bool = False,
    ) -> FlowChange:
        """Create the flow with this name, or change it. A flow that already has all of the changes stays as it is.

        Args:
            dry_run: Return what would be saved, and save nothing.

        Raises: InvalidFlow, InvalidInput, PreconditionFailed, LimitReached; Conflict if several flows have the name.
        """
        check_name(name)
        changer = (await self.changer(caller, draft)).named(name)

        def change(before: SavedFlow | None) -> SavedFlow:
            check_precondition(condition, before)
            return changer.deployed(before)

        size = None if draft.definition is None else len(draft.definition.encode())
        changes = [NamedChange(name=name, change=change, size=size)]
        at, most = changer.at, self._limits.flows
        if dry_run:
            done = await self._store.plan_deployment(caller.workspace_id, changes, at=at, most=most)
        else:
            audit = partial(acts, caller, at)
            done = await self._store.deploy(caller.workspace_id, changes, at=at, most=most, audit=audit)
        (made,) = done.changes
        return made

    async def named(self, caller: Caller, name: str) -> SavedFlow:
        """Raises: NotFound; Conflict if several flows have the name."""
        return await self._store.named(caller.workspace_id, name)

    async def others_with_its_name(self, caller: Caller, flow: SavedFlow) -> Sequence[FlowId]:
        """Return at most two other flows that have the flow's name."""
        page = Page(limit=3, offset=0, counts=False)
        found, _ = await self._store.page(caller.workspace_id, FlowFilter(name=flow.name), page=page)
        return [other.id for other in found if other.id != flow.id][:2]

    async def difference(self, caller: Caller, change: FlowChange) -> Difference:
        """Return the difference between the definitions before and after a planned change."""
        before, after = change
        old = ("", "/dev/null")
        if before is not None:
            text = after.definition
            if after.revision_id != before.revision_id:
                text = await self._store.definition(caller.workspace_id, before.revision_id)
            old = (text, f"revision {before.revision}")
        return await self._compare(caller, old, (after.definition, f"revision {after.revision}"))

    async def read(self, caller: Caller, definition: str) -> Metadata:
        """Return what a definition that is to be saved says. Raises: LimitReached, InvalidFlow."""
        await self._check_stored(caller)
        # A batch has many flows, and the whole ones would take much memory.
        return Metadata.of(await self._read(caller, definition))

    async def _read(self, caller: Caller, definition: str) -> Flow:
        """Raises: InvalidFlow with every fault; Unavailable."""
        async with self._locks.of(caller):
            return await self._language.read(definition)

    async def _check_stored(self, caller: Caller) -> None:
        """Raises: LimitReached if the workspace may not save another definition."""
        if self._limits.stored is not None:
            self._limits.check_stored(await self._usage.stored(caller.workspace_id))

    async def validate(self, caller: Caller, definition: str) -> Sequence[Fault]:
        """Return every fault and warning of a definition, missing secrets and flows included. Raises: Unavailable."""
        async with self._locks.of(caller):
            reading = await self._language.study(definition)
        missing = [
            *missing_names(reading, await self.secret_names(caller), await self.config_names(caller)),
            *unclear_calls(reading, await self.called(caller, reading.flows)),
            *unknown_sources(reading, await self.called(caller, reading.listened)),
            *await asyncio.to_thread(past_schedules, reading, self._clock.now()),
        ]
        faults = sorted([*reading.faults, *missing], key=lambda fault: (fault.line or 0, fault.column or 0))
        return await self._language.with_fixes(definition, faults)

    async def sketch(self, caller: Caller, definition: str) -> tuple[Sketch, Sequence[Fault]]:
        """Return the graph of a definition as far as it can be read, and its faults. Raises: Unavailable."""
        faults = await self.validate(caller, definition)
        async with self._locks.of(caller):
            return await self._language.sketch(definition), faults

    async def graph(self, caller: Caller, id: FlowId) -> Sketch:
        """Return the graph of a flow as it is saved. Raises: NotFound, Unavailable."""
        flow = await self.get(caller, id)
        async with self._locks.of(caller):
            return await self._language.sketch(flow.definition)

    async def picture(self, caller: Caller, id: FlowId) -> str:
        """Return the graph of a flow as it is saved, as an SVG document.

        Raises: NotFound, InvalidInput if it is too large, Unavailable.
        """
        flow = await self.get(caller, id)
        async with self._locks.of(caller):
            return await self._language.svg(await self._language.sketch(flow.definition), caller.workspace_id)

    async def missing_names(self, caller: Caller, definition: str) -> tuple[Sequence[str], Sequence[str]]:
        """Return the secrets and the configuration values that a definition needs and the workspace does not have.

        Raises: Unavailable.
        """
        async with self._locks.of(caller):
            reading = await self._language.study(definition)
        secrets, config = await self.secret_names(caller), await self.config_names(caller)
        return missing_of(reading.needed, "secrets", secrets), missing_of(reading.needed, "config", config)

    async def secret_names(self, caller: Caller) -> Collection[str]:
        """Return the names of the workspace's secrets."""
        return {secret.key for secret in await self._secrets.list(caller.workspace_id)}

    async def config_names(self, caller: Caller) -> Collection[str]:
        """Return the names of the workspace's configuration values."""
        return await self._config.names(caller.workspace_id)

    async def read_names(self) -> None:
        """Record the secrets and configuration values that flows name which an earlier version has saved.

        Raises: Unavailable.
        """
        while flows := await self._store.unread(limit=_UNREAD_AT_ONCE):
            for workspace_id, id, revision_id, definition in flows:
                reading = await self._language.study(definition)
                await self._store.keep_names(
                    workspace_id, id, revision_id, secrets=sorted(reading.secrets), config=sorted(reading.config)
                )

    async def copy(
        self, caller: Caller, id: FlowId, target: Caller, *, name: str | None, dry_run: bool = False
    ) -> SavedFlow:
        """Save the current definition as a new flow.

        Args:
            target: The caller, acting in the workspace of the copy.
            name: Absent, the copy has the flow's name in another workspace, and `Copy of …` in the same one.
            dry_run: Return what would be saved, and save nothing.

        Raises: NotFound; Forbidden; LimitReached; InvalidFlow if the language no longer accepts the definition.
        """
        authorise(target, Right.WRITE)
        flow = await self._store.get(caller.workspace_id, id)
        if name is None:
            is_elsewhere = target.workspace_id != caller.workspace_id
            name = flow.name if is_elsewhere else f"{_COPY_OF}{flow.name}"[:MAX_NAME_CHARACTERS]
        draft = FlowDraft(
            definition=flow.definition,
            name=name,
            description=flow.description,
            tags=flow.tags,
            # Otherwise its triggers would start at once what somebody has switched off.
            disabled=flow.disabled_at is not None,
        )
        return await self.create(target, draft, dry_run=dry_run, details={"copy_of": id, "revision": flow.revision})

    async def called(
        self, caller: Caller, names: Collection[str], *, but: Collection[FlowId] = ()
    ) -> Mapping[str, int]:
        """Return how many flows have each of the ids or names; only the first `_MOST_CALLED` names are looked up.

        Args:
            but: Flows that are not counted.
        """
        counts = {}
        for name in list(names)[:_MOST_CALLED]:
            found = await self._store.called(caller.workspace_id, name)
            counts[name] = sum(id not in but for id in found)
        return counts

    async def update(
        self,
        caller: Caller,
        id: FlowId,
        draft: FlowDraft,
        *,
        condition: Precondition = ANY,
        restores: int | None = None,
    ) -> SavedFlow:
        """Change the given fields. A new definition also sets the metadata that are not given.

        Args:
            restores: The revision that the definition is taken from, for the audit log.

        Raises: NotFound, PreconditionFailed, InvalidFlow, InvalidInput; LimitReached for a new definition.
        """
        await self._store.get(caller.workspace_id, id)
        changer = await self.changer(caller, draft)

        def change(before: SavedFlow) -> SavedFlow:
            check_precondition(condition, before)
            return changer.changed(before)

        def audit(after: SavedFlow) -> AuditEntry:
            details: dict[str, JSON] = {"revision": after.revision}
            if restores is not None:
                details["restores"] = restores
            if draft.disabled is not None:
                details["disabled"] = draft.disabled
            action = "flow.updated" if restores is None else "flow.restored"
            return act(caller, action, "flow", id, at=changer.at, details=details)

        return await self._store.update(caller.workspace_id, id, change, audit=audit)

    async def plan_update(self, caller: Caller, id: FlowId, draft: FlowDraft, *, condition: Precondition) -> FlowChange:
        """Return what `update` would do, and save nothing. Raises: as `update`."""
        before = await self._store.get(caller.workspace_id, id)
        changer = await self.changer(caller, draft)
        check_precondition(condition, before)
        after = changer.changed(before).after(before)
        planned = FlowChange(before, after)
        await self._store.check_writable(caller.workspace_id, [planned])
        return planned

    async def changer(self, caller: Caller, draft: FlowDraft) -> FlowChanger:
        """Return what makes the flow of a draft. Raises: LimitReached, InvalidFlow."""
        flow = None if draft.definition is None else await self.read(caller, draft.definition)
        return FlowChanger.of(caller, draft, flow, at=self._clock.now())

    async def delete(self, caller: Caller, id: FlowId, *, condition: Precondition = ANY, dry_run: bool = False) -> None:
        """Delete a flow; its running executions continue. A dry run only checks.

        Raises: NotFound, PreconditionFailed.
        """
        if dry_run:
            check_precondition(condition, await self._store.get(caller.workspace_id, id))
            return
        now = self._clock.now()
        entry = act(caller, "flow.deleted", "flow", id, at=now)
        await self._store.delete(
            caller.workspace_id, id, at=now, check=partial(check_precondition, condition), audit=entry
        )

    async def get(self, caller: Caller, id: FlowId) -> SavedFlow:
        """Raises: NotFound."""
        return await self._store.get(caller.workspace_id, id)

    async def page(
        self, caller: Caller, wanted: FlowFilter = ALL_FLOWS, *, page: Page
    ) -> tuple[Sequence[FlowView], int]:
        return await self._store.page(caller.workspace_id, wanted, page=page)

    async def tools(self, caller: Caller) -> Sequence[PublishedFlow]:
        """Return the flows of the workspace that agents find as tools."""
        return await self._store.tools(caller.workspace_id)

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
        old = (before.definition, f"revision {before.number}") if before else ("", "/dev/null")
        found = await self._compare(caller, old, (after.definition, f"revision {after.number}"))
        return found, before.number if before else None

    async def _compare(self, caller: Caller, old: tuple[str, str], new: tuple[str, str]) -> Difference:
        """Return the difference between two definitions, each with its name."""
        async with self._locks.of(caller), self._comparing:
            return await asyncio.to_thread(difference, old[0], new[0], names=(old[1], new[1]))

    async def restore(self, caller: Caller, id: FlowId, number: int, *, condition: Precondition = ANY) -> SavedFlow:
        """Save an old definition as a new revision, as `update` does.

        Raises: NotFound, PreconditionFailed, LimitReached; InvalidFlow if the language no longer accepts it.
        """
        draft = await self._draft_of(caller, id, number)
        return await self.update(caller, id, draft, condition=condition, restores=number)

    async def plan_restore(self, caller: Caller, id: FlowId, number: int, *, condition: Precondition) -> FlowChange:
        """Return what `restore` would do, and save nothing. Raises: as `restore`."""
        return await self.plan_update(caller, id, await self._draft_of(caller, id, number), condition=condition)

    async def _draft_of(self, caller: Caller, id: FlowId, number: int) -> FlowDraft:
        return FlowDraft(definition=(await self._store.revision(caller.workspace_id, id, number)).definition)

    async def delete_revision(self, caller: Caller, id: FlowId, number: int, *, dry_run: bool = False) -> None:
        """Delete a revision; its ended executions stay. A dry run only checks.

        Raises: NotFound; Conflict if it is current, or an open execution needs it.
        """
        now = self._clock.now()
        entry = act(caller, "flow.revision.deleted", "flow", id, at=now, details={"revision": number})
        if dry_run:
            await self._store.check_deletable(caller.workspace_id, id, number)
        else:
            await self._store.delete_revision(caller.workspace_id, id, number, at=now, audit=entry)

    async def purge(self) -> None:
        """Erase deleted flows that have no executions left, in small batches."""
        await commit_in_portions(lambda: self._store.purge(limit=_PURGE_BATCH), pause_seconds=_PURGE_PAUSE_SECONDS)


def acts(caller: Caller, at: datetime, done: Deployment) -> Sequence[AuditEntry]:
    """Return an entry for each flow that was created, changed or deleted."""
    entries = []
    for before, after in done.changes:
        if before is None:
            entries.append(act(caller, "flow.created", "flow", after.id, at=at))
        elif before != after:
            details: dict[str, JSON] = {"revision": after.revision}
            if before.disabled_at != after.disabled_at:
                details["disabled"] = after.disabled_at is not None
            entries.append(act(caller, "flow.updated", "flow", after.id, at=at, details=details))
    return [*entries, *(act(caller, "flow.deleted", "flow", id, at=at) for id in done.deleted)]
