"""Flows: saved, read, listed, and made ready to run."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import invalid
from flowrunner.domain.flow import Flow, NodeTypeSpec
from flowrunner.domain.flow_document import read_flow
from flowrunner.domain.values import AccountId, FlowId, RevisionId
from flowrunner.ports import Clock, FlowStore, FlowView, Page, SavedFlow
from flowrunner.services.ids import new_id

_CACHED_FLOWS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowDraft:
    """A flow as somebody wants it saved. What is None is taken from the definition."""

    definition: str
    name: str | None = None
    description: str | None = None
    tags: Sequence[str] | None = None


class Flows:
    def __init__(self, store: FlowStore, node_types: Mapping[str, NodeTypeSpec], clock: Clock) -> None:
        self._store = store
        self._node_types = node_types
        self._clock = clock

    async def create(self, caller: Caller, draft: FlowDraft) -> SavedFlow:
        """Raises: InvalidFlow with every fault; InvalidInput if it has no name."""
        flow = read_flow(draft.definition, self._node_types)
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
        )
        await self._store.create(caller.account_id, saved)
        return saved

    async def update(
        self,
        caller: Caller,
        id: FlowId,
        *,
        definition: str | None,
        name: str | None,
        description: str | None,
        tags: Sequence[str] | None,
    ) -> SavedFlow:
        """Change what is given. A new definition brings its own metadata where none is given.

        Raises: NotFound, InvalidFlow, InvalidInput.
        """
        await self._store.get(caller.account_id, id)
        now = self._clock.now()
        revision_id = RevisionId(new_id("rev", now))
        flow = read_flow(definition, self._node_types) if definition is not None else None

        def change(before: SavedFlow) -> SavedFlow:
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
            )

        return await self._store.update(caller.account_id, id, change)

    async def delete(self, caller: Caller, id: FlowId) -> None:
        """Executions under way go on. Raises: NotFound."""
        await self._store.delete(caller.account_id, id, at=self._clock.now())

    async def get(self, caller: Caller, id: FlowId) -> SavedFlow:
        """Raises: NotFound."""
        return await self._store.get(caller.account_id, id)

    async def page(self, caller: Caller, *, tag: str | None, page: Page) -> tuple[Sequence[FlowView], int]:
        return await self._store.page(caller.account_id, tag=tag, page=page)


def _named(name: str) -> str:
    if not name.strip():
        raise invalid(
            "name", "Name is required", code="required", hint="give 'name', or 'metadata.name' in the definition"
        )
    return name


class ReadyFlows:
    """Fills `ports.FlowLibrary`: reads each revision once and keeps the ones used last.

    A revision never changes, so nothing kept here can become wrong.
    """

    def __init__(self, store: FlowStore, node_types: Mapping[str, NodeTypeSpec]) -> None:
        self._store = store
        self._node_types = node_types
        self._kept: OrderedDict[tuple[AccountId, RevisionId], Flow] = OrderedDict()

    async def get(self, account_id: AccountId, revision_id: RevisionId) -> Flow:
        key = (account_id, revision_id)
        flow = self._kept.get(key)
        if flow is None:
            flow = read_flow(await self._store.definition(account_id, revision_id), self._node_types)
            self._kept[key] = flow
            if len(self._kept) > _CACHED_FLOWS:
                self._kept.popitem(last=False)
        else:
            self._kept.move_to_end(key)
        return flow
