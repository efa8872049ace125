"""The flows that executions run, compiled from their documents and kept in memory."""

import asyncio
from collections.abc import Mapping
from typing import Final

from flowrunner.domain.flow import Flow, NodeTypeSpec
from flowrunner.domain.values import RevisionId, WorkspaceId
from flowrunner.language.reading import read_stored_flow
from flowrunner.ports.flows import Definitions
from flowrunner.services.account_locks import Locks
from flowrunner.services.weighed_cache import WeighedCache, memory_of

# Memory for compiled flows: of all workspaces together, and of one. The largest flow takes about 8 MiB.
_KEPT_BYTES: Final = 128 * 1024 * 1024
_KEPT_BYTES_OF_A_WORKSPACE: Final = 32 * 1024 * 1024


class CompiledFlowCache:
    """Implements `ports.CompiledFlows` with a cache of the revisions used last, bounded in memory.

    A revision never changes, so an entry never becomes stale.
    """

    def __init__(self, store: Definitions, node_types: Mapping[str, NodeTypeSpec]) -> None:
        self._store = store
        self._node_types = node_types
        self._kept: WeighedCache[RevisionId, Flow] = WeighedCache(most=_KEPT_BYTES, share=_KEPT_BYTES_OF_A_WORKSPACE)
        # One workspace must not occupy all threads: there are few, and host names are resolved on them too.
        self._locks: Locks[WorkspaceId] = Locks()

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
