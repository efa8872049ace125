"""Journal, flows and secrets for the engine, in memory."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final

from flowrunner.bounded_json import canonical_text
from flowrunner.domain.causes import Requested, StartCause, awaiting_parent
from flowrunner.domain.errors import NotFound
from flowrunner.domain.flow import Flow
from flowrunner.domain.limits import check_count
from flowrunner.domain.store import MAX_KEYS, EntryValue, StoreChange, StoreKey, StoreStep, changed
from flowrunner.domain.values import JSON, ExecutionId, FlowId, RevisionId, WorkspaceId
from flowrunner.ports.children import UnreconciledChild
from flowrunner.ports.concurrency import ConcurrencySlot
from flowrunner.ports.journal import (
    Append,
    DuplicateRequest,
    Fenced,
    NewExecution,
    Recorded,
    StoredExecution,
    Summary,
    TakeEvents,
)
from flowrunner.ports.memory import Loading
from flowrunner.ports.secrets import Redactor
from flowrunner.services.secrets import MIN_VALUE_CHARACTERS

# The workspace of everything that runs without a server.
NOBODY: Final = WorkspaceId("local")
BY_NOBODY: Final = Requested(by=None)


@dataclass(slots=True)
class _StoredRun:
    new: NewExecution
    summary: Summary
    records: list[Recorded] = field(default_factory=list)
    size: int = 0


class MemoryJournal:
    """Implements `ports.Journal` and `ports.DueExecutions` in memory."""

    def __init__(self) -> None:
        self._runs: dict[ExecutionId, _StoredRun] = {}
        self._requests: dict[str, ExecutionId] = {}
        self._epoch = 0

    async def append(self, append: Append) -> None:
        run, new = self._runs.get(append.execution_id), append.create
        if append.epoch != self._epoch:
            raise Fenced("another engine owns the journal")
        if new is not None:
            self._check_new(new)
            run = self._runs[new.id] = _StoredRun(new, append.summary)
        if run is None or append.after != len(run.records) or (new is None and run.summary.status.is_final):
            raise Fenced("not the next events of the execution")
        run.records.extend(append.records)
        run.summary = append.summary
        run.size += sum(len(record.data) for record in append.records)

    def _check_new(self, new: NewExecution) -> None:
        if new.idempotency_key is None:
            return
        before = self._requests.setdefault(new.idempotency_key, new.id)
        if before != new.id:
            raise DuplicateRequest(before, self._runs[before].new.request_digest)

    async def claim(self) -> int:
        self._epoch += 1
        return self._epoch

    async def epoch(self) -> int:
        return self._epoch

    async def acquire(self, id: ExecutionId, epoch: int) -> int:
        return epoch

    def announce(self, id: ExecutionId) -> None:
        """Do nothing: there is no other process."""

    async def load(self, id: ExecutionId, take: TakeEvents, loading: Loading | None = None) -> StoredExecution:
        await take([(record.event, record.at) for record in self._of(id).records])
        return await self.stored(id)

    async def stored(self, id: ExecutionId) -> StoredExecution:
        run = self._of(id)
        return StoredExecution(
            id=id,
            workspace_id=run.new.workspace_id,
            flow_id=run.new.flow_id,
            revision_id=run.new.revision_id,
            status=run.summary.status,
            workspace_is_gone=False,
            size=run.size,
            last_seq=len(run.records),
            parent_id=awaiting_parent(run.new.cause),
        )

    async def events(self, id: ExecutionId, *, after: int, limit: int) -> Sequence[Recorded]:
        return self._of(id).records[after : after + limit]

    async def unowned(self, *, since: datetime, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        return ()

    async def unfinished(self, *, after: ExecutionId | None, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        ids = sorted(id for id, run in self._runs.items() if not (run.summary.is_idle or run.summary.status.is_final))
        return [(id, NOBODY) for id in ids if after is None or id > after][:limit]

    async def due(self, *, now: datetime, limit: int) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        return [(id, NOBODY) for id, at in self._waits() if at <= now][:limit]

    async def next_wake(self, *, after: datetime) -> datetime | None:
        return min((at for _, at in self._waits() if at > after), default=None)

    async def settle(self) -> None:
        """Do nothing: a start is durable at once."""

    def summary(self, id: ExecutionId) -> Summary:
        """Return the summary of an execution. Raises: NotFound."""
        return self._of(id).summary

    def revision_of(self, id: ExecutionId) -> RevisionId:
        """Return the revision of an execution. Raises: NotFound."""
        return self._of(id).new.revision_id

    @property
    def open_ones(self) -> Sequence[ExecutionId]:
        """Return the executions that have not ended."""
        return [id for id, run in self._runs.items() if not run.summary.status.is_final]

    def _of(self, id: ExecutionId) -> _StoredRun:
        run = self._runs.get(id)
        if run is None:
            raise NotFound("execution")
        return run

    def _waits(self) -> Iterable[tuple[ExecutionId, datetime]]:
        for id, run in self._runs.items():
            if run.summary.is_idle and run.summary.wake_at is not None:
                yield id, run.summary.wake_at


class MemoryStore:
    """The store of everything that runs without a server. Implements `ports.StepStore`."""

    def __init__(self) -> None:
        self._entries: dict[StoreKey, EntryValue] = {}
        # A step that is retried gets the result of its first change.
        self._results: dict[StoreStep, JSON] = {}

    async def value(self, workspace_id: WorkspaceId, at: StoreKey, *, now: datetime) -> str | None:
        found = self._live(at, now)
        return None if found is None else found.value

    async def keys(
        self, workspace_id: WorkspaceId, *, namespace: str, prefix: str, after: str, limit: int, now: datetime
    ) -> Sequence[str]:
        found = (
            at.key
            for at in self._entries
            if at.namespace == namespace and at.key.startswith(prefix) and at.key > after and self._live(at, now)
        )
        return sorted(found)[:limit]

    async def change(self, workspace_id: WorkspaceId, change: StoreChange, *, now: datetime) -> JSON:
        if change.step is not None and change.step in self._results:
            return self._results[change.step]
        if change.at not in self._entries:
            check_count("keys in its store", len(self._entries), MAX_KEYS, limit="store_keys")
        after, result = changed(change, self._live(change.at, now), now=now, canonical=canonical_text)
        if after is None:
            self._entries.pop(change.at, None)
        else:
            self._entries[change.at] = after
        if change.step is not None:
            self._results[change.step] = result
        return result

    def _live(self, at: StoreKey, now: datetime) -> EntryValue | None:
        found = self._entries.get(at)
        return None if found is None or found.has_expired(now) else found


class NoConcurrencyLimits:
    """Implements `ports.ConcurrencyLimits` where no execution takes a slot."""

    async def has_free_slot(self, slot: ConcurrencySlot) -> bool:
        return True

    async def admit(self, key: str) -> tuple[ExecutionId, WorkspaceId] | None:
        return None

    async def holding_slot(self, key: str) -> Sequence[tuple[ExecutionId, WorkspaceId]]:
        return ()

    async def queued_keys(self) -> Sequence[str]:
        return ()

    async def last_queued(self, key: str) -> ExecutionId | None:
        return None

    async def older_with_key(self, id: ExecutionId) -> Sequence[ExecutionId]:
        return ()


class NoUnreconciledChildren:
    """Implements `ports.ChildExecutions` where no notification can be lost."""

    async def unreconciled(self, parent: ExecutionId | None = None) -> Sequence[UnreconciledChild]:
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenFlow:
    """Flow that was read from a file.

    Attributes:
        nodes: The nodes as written in the document.
    """

    id: FlowId
    revision_id: RevisionId
    flow: Flow
    nodes: Mapping[str, JSON]


class GivenFlows:
    """Flows that were read from files. Implements `ports.CompiledFlows`."""

    def __init__(self) -> None:
        self._flows: list[GivenFlow] = []

    def add(self, flow: Flow, nodes: Mapping[str, JSON]) -> GivenFlow:
        number = len(self._flows) + 1
        given = GivenFlow(id=FlowId(f"flow_{number}"), revision_id=RevisionId(f"rev_{number}"), flow=flow, nodes=nodes)
        self._flows.append(given)
        return given

    async def get(self, workspace_id: WorkspaceId, revision_id: RevisionId) -> Flow:
        return self.of_revision(revision_id).flow

    @property
    def needed_secrets(self) -> Collection[str]:
        """Return the secrets that some expression reads without a default."""
        return {name for given in self._flows for root, name in given.flow.needed if root == "secrets"}

    def of_revision(self, revision_id: RevisionId) -> GivenFlow:
        """Return the flow of a revision. Raises: NotFound."""
        for given in self._flows:
            if given.revision_id == revision_id:
                return given
        raise NotFound("revision")

    def find(self, name: str, version: str | int | None = None) -> GivenFlow | None:
        """Return the flow of that name, and with ``version`` the one that has it as its label."""
        named = [given for given in self._flows if given.flow.name == name]
        if version is not None:
            named = [given for given in named if given.flow.version == str(version)]
        return named[0] if named else None


class MemorySecrets:
    """Implements `ports.SecretReader`.

    Args:
        make_redactor: Returns a redactor that hides these values.
        placeholders: Values of missing secrets, which are not hidden.
    """

    def __init__(
        self,
        secrets: Mapping[str, str],
        make_redactor: Callable[[Iterable[str]], Redactor],
        placeholders: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._secrets = {**placeholders, **secrets}
        # Hiding shorter values would hide half of the output; a server rejects them.
        self._redactor = make_redactor(value for value in secrets.values() if len(value) >= MIN_VALUE_CHARACTERS)

    async def redactor(self, workspace_id: WorkspaceId) -> Redactor:
        return self._redactor

    async def reveal(self, workspace_id: WorkspaceId, names: Collection[str]) -> Mapping[str, str]:
        return {name: self._secrets[name] for name in names if name in self._secrets}


def new_execution(
    id: ExecutionId,
    given: GivenFlow,
    at: datetime,
    *,
    config: Mapping[str, JSON],
    cause: StartCause = BY_NOBODY,
    key: str | None = None,
) -> NewExecution:
    """Return the execution of a flow. Args: config: All configuration values that are given."""
    return NewExecution(
        id=id,
        workspace_id=NOBODY,
        flow_id=given.id,
        revision_id=given.revision_id,
        started_at=at,
        cause=cause,
        idempotency_key=key,
        config={name: config[name] for name in given.flow.config if name in config},
    )
