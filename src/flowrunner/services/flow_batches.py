"""Many flows at once: deployment of all of them or none, and the documents of a whole workspace."""

import contextlib
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import (
    Conflict,
    Fault,
    InvalidFlow,
    InvalidFlows,
    InvalidInput,
    NotFound,
    Unavailable,
    invalid,
    quoted,
)
from flowrunner.domain.flow_names import composed
from flowrunner.domain.limits import WorkspaceLimits
from flowrunner.domain.values import FlowId
from flowrunner.ports.clock import Clock
from flowrunner.ports.flows import ALL_FLOWS, FlowChange, FlowStore, NamedChange, SavedFlow
from flowrunner.ports.page import Page
from flowrunner.ports.usage import UsageReader
from flowrunner.services.flow_changes import FlowChanger, FlowDraft, Metadata, check_name
from flowrunner.services.flows import Flows, acts
from flowrunner.services.weighed_cache import WeighedCache, memory_of

MAX_FLOWS: Final = 500
# Triggers of all flows together: one transaction arms them, and other writes wait for it.
MAX_TRIGGERS: Final = 2_000
# Bytes of all definitions together.
MAX_BYTES: Final = 16 * 1024 * 1024
# Faults of an answer; beyond them the rest is not looked at.
MAX_FAULTS: Final = 1_000
_NAMES_AT_ONCE: Final = 1_000
# Memory for what deployed documents say, and the characters of a document that is remembered.
_KNOWN_BYTES: Final = 16 * 1024 * 1024
_KNOWN_BYTES_OF_A_WORKSPACE: Final = 4 * 1024 * 1024
_LONGEST_KEPT: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowDocument:
    """A definition to save under a name.

    Attributes:
        place: Its place in the request, as a JSON pointer, for faults.
    """

    name: str
    definition: str
    place: str = ""


class DeployedBatch(NamedTuple):
    documents: Sequence["DeployedDocument"]
    deleted: Sequence[FlowId]


class DeployedDocument(NamedTuple):
    """A document that was saved, or would be.

    Attributes:
        missing_secrets: Secrets that it needs and the workspace does not have.
        missing_config: Configuration values that it needs and the workspace does not have.
        missing_flows: Flows that it calls, or whose ends start it, and that are neither there nor saved with it.
    """

    change: FlowChange
    missing_secrets: Sequence[str]
    missing_config: Sequence[str]
    missing_flows: Sequence[str]


class FlowBatches:
    def __init__(
        self, flows: Flows, store: FlowStore, clock: Clock, *, usage: UsageReader, limits: WorkspaceLimits
    ) -> None:
        self._flows = flows
        self._store = store
        self._clock = clock
        self._usage = usage
        self._limits = limits
        # Programs deploy the same documents again and again, and most of them have not changed since.
        self._known: WeighedCache[bytes, Metadata] = WeighedCache(most=_KNOWN_BYTES, share=_KNOWN_BYTES_OF_A_WORKSPACE)

    async def save(
        self,
        caller: Caller,
        documents: Sequence[FlowDocument],
        *,
        delete: Sequence[FlowId] = (),
        dry_run: bool = False,
    ) -> DeployedBatch:
        """Create or change the flow of each name, and delete others, in one transaction; each document is whole.

        Args:
            delete: Flows to delete; those that there are not are ignored.
            dry_run: Return what would be saved, and save nothing.

        Raises: InvalidInput, InvalidFlows with the faults of all, LimitReached; Conflict if several flows have a name,
            or a flow is to be both saved and deleted.
        """
        sizes = [len(document.definition.encode()) for document in documents]
        if len(documents) > MAX_FLOWS or sum(sizes) > MAX_BYTES:
            raise invalid("flows", f"must be at most {MAX_FLOWS} flows of {MAX_BYTES} bytes together", code="too_long")
        _check_names(documents)
        if self._limits.stored is not None:
            self._limits.check_grown(await self._usage.stored(caller.workspace_id) + sum(sizes))
        now = self._clock.now()
        changers = await self._changers(caller, documents)
        changes = [
            NamedChange(name=document.name, change=partial(_deployed, document, changer), size=size)
            for document, changer, size in zip(documents, changers, sizes, strict=True)
        ]
        most = self._limits.flows
        known = await self._flows.secret_names(caller)
        configured = await self._flows.config_names(caller)
        try:
            if dry_run:
                done = await self._store.plan_deployment(caller.workspace_id, changes, delete=delete, at=now, most=most)
            else:
                audit = partial(acts, caller, now)
                done = await self._store.deploy(
                    caller.workspace_id, changes, delete=delete, at=now, most=most, audit=audit
                )
        except InvalidFlow as error:
            raise _with_place(error, documents) from None
        called: Collection[str] = ()
        # Afterwards: a flow that was deleted is missing. The flows are saved, which an outage must not hide.
        with contextlib.suppress(Unavailable):
            called = await self._flows_without(caller, documents, changers, deleted=done.deleted)
        deployed = [
            DeployedDocument(
                change,
                missing_secrets=changer.missing("secrets", known),
                missing_config=changer.missing("config", configured),
                missing_flows=[name for name in changer.calls if name in called],
            )
            for change, changer in zip(done.changes, changers, strict=True)
        ]
        return DeployedBatch(deployed, done.deleted)

    async def _flows_without(
        self,
        caller: Caller,
        documents: Sequence[FlowDocument],
        changers: Sequence[FlowChanger],
        *,
        deleted: Collection[FlowId],
    ) -> Collection[str]:
        """Return the called flows that are neither stored nor among the documents; a part of them if they are many.

        Args:
            deleted: Flows that a dry run leaves stored.
        """
        saved = {composed(document.name) for document in documents}
        called = {name for changer in changers for name in changer.calls if composed(name) not in saved}
        counts = await self._flows.called(caller, sorted(called), but=deleted)
        return {name for name, count in counts.items() if not count}

    async def _changers(self, caller: Caller, documents: Sequence[FlowDocument]) -> Sequence[FlowChanger]:
        """Raises: InvalidFlows with the faults of all documents; InvalidInput if they have too many triggers."""
        now, triggers = self._clock.now(), 0
        changers: list[FlowChanger] = []
        faults: list[tuple[str, str, Fault]] = []
        for document in documents:
            draft = FlowDraft(definition=document.definition, is_whole=True)
            try:
                flow = await self._read_once(caller, document.definition)
                changers.append(FlowChanger.of(caller, draft, flow, at=now).named(document.name))
                triggers += len(flow.triggers)
            except (InvalidFlow, InvalidInput) as error:
                faults += [(document.name, document.place, fault) for fault in error.faults]
            if len(faults) >= MAX_FAULTS:
                break
        if faults:
            raise InvalidFlows(faults[:MAX_FAULTS])
        if triggers > MAX_TRIGGERS:
            message = f"have {triggers} triggers together, and may have {MAX_TRIGGERS}"
            raise invalid("flows", message, code="too_long", hint="save them in several requests")
        return changers

    async def _read_once(self, caller: Caller, definition: str) -> Metadata:
        """Return what a definition says, read now or for an earlier deployment. Raises: LimitReached, InvalidFlow."""
        if len(definition) > _LONGEST_KEPT:
            return await self._flows.read(caller, definition)
        digest = hashlib.sha256(definition.encode()).digest()
        known = self._known.get(caller.workspace_id, digest)
        if known is None:
            known = await self._flows.read(caller, definition)
            self._known.keep(caller.workspace_id, digest, known, memory_of(known))
        return known

    async def documents(self, caller: Caller) -> AsyncIterator[FlowDocument]:
        """Return the documents of all flows, which are read on demand.

        Raises: Conflict if several flows have one name.
        """
        names: Counter[str] = Counter()
        cursor: str | None = ""
        # Not by offset: a flow that is deleted meanwhile would let others be skipped.
        while cursor is not None:
            page = Page(limit=_NAMES_AT_ONCE, cursor=cursor, counts=False)
            flows, _ = await self._store.page(caller.workspace_id, page=page)
            names.update(flow.name for flow in flows)
            cursor = ALL_FLOWS.position(flows[-1]) if len(flows) == _NAMES_AT_ONCE else None
        shared = next((name for name, count in names.items() if count > 1), None)
        if shared is not None:
            raise Conflict(f"Several flows are called {quoted(shared)}: rename one of them first")
        return self._read(caller, sorted(names))

    async def _read(self, caller: Caller, names: Sequence[str]) -> AsyncIterator[FlowDocument]:
        for name in names:
            try:
                flow = await self._store.named(caller.workspace_id, name)
            except (NotFound, Conflict):
                # Renamed or deleted since.
                continue
            yield FlowDocument(name=name, definition=flow.definition)


def _deployed(document: FlowDocument, changer: FlowChanger, before: SavedFlow | None) -> SavedFlow:
    """Return the new flow. Raises: InvalidFlows if the stored flow cannot be changed so."""
    try:
        return changer.deployed(before)
    except InvalidInput as error:
        raise InvalidFlows([(document.name, document.place, fault) for fault in error.faults]) from None


def _with_place(error: InvalidFlow, documents: Sequence[FlowDocument]) -> Exception:
    """Return the faults that the store has found in one of the documents, with its place."""
    for document in documents:
        if error.flow_name is not None and composed(document.name) == composed(error.flow_name):
            return InvalidFlows([(document.name, document.place, fault) for fault in error.faults])
    return error


def _check_names(documents: Sequence[FlowDocument]) -> None:
    """Raises: InvalidFlows if a name is not possible, or occurs twice."""
    counts = Counter(composed(document.name) for document in documents)
    faults = []
    for document in documents:
        try:
            check_name(document.name)
        except InvalidInput as error:
            faults += [(document.name, document.place, fault) for fault in error.faults]
        if counts[composed(document.name)] > 1:
            fault = Fault(path="name", message="several flows of this request have this name", code="name")
            faults.append((document.name, document.place, fault))
    if faults:
        raise InvalidFlows(faults)
