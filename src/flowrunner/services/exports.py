"""Export of a workspace as a zip archive, which is written in portions: memory does not grow with what it holds."""

import asyncio
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.domain.audit import act
from flowrunner.domain.config import MAX_VALUES
from flowrunner.domain.errors import TooManyRequests
from flowrunner.domain.limits import SOON
from flowrunner.domain.store import StoreKey
from flowrunner.domain.values import WorkspaceId, rfc3339, rfc3339_or_none
from flowrunner.domain.workspace import Workspace
from flowrunner.ports.audit import AuditStore
from flowrunner.ports.callbacks import CallbackStore
from flowrunner.ports.clock import Clock
from flowrunner.ports.config import ConfigStore
from flowrunner.ports.exports import ExportedExecution, ExportedFlow, ExportStore
from flowrunner.ports.page import Page
from flowrunner.ports.secrets import SecretStore
from flowrunner.ports.store import EntryStore
from flowrunner.ports.triggers import TriggerStore, TriggerView
from flowrunner.ports.workspaces import WorkspaceStore
from flowrunner.services.callbacks import MAX_CALLBACKS
from flowrunner.services.workspaces import MAX_MEMBERS

# Exports of one workspace at a time in one process: each reads the database and compresses.
MAX_OPEN: Final = 2
_FLOWS_AT_ONCE: Final = 50
_EXECUTIONS_AT_ONCE: Final = 100
# A value may have 64 KiB.
_ENTRIES_AT_ONCE: Final = 50
_TRIGGERS_AT_ONCE: Final = 1000
_encode: Final = msgspec.json.Encoder().encode

# Name of a file in the archive, and the portions of its content.
_File = tuple[str, AsyncIterator[bytes]]


class WorkspaceExports:
    def __init__(
        self,
        store: ExportStore,
        workspaces: WorkspaceStore,
        *,
        secrets: SecretStore,
        config: ConfigStore,
        entries: EntryStore,
        triggers: TriggerStore,
        callbacks: CallbackStore,
        audit: AuditStore,
        clock: Clock,
    ) -> None:
        self._store = store
        self._triggers = triggers
        self._callbacks = callbacks
        self._workspaces = workspaces
        self._secrets = secrets
        self._config = config
        self._entry_store = entries
        self._audit = audit
        self._clock = clock
        self._open: Counter[WorkspaceId] = Counter()

    async def export(self, caller: Caller) -> tuple[str, AsyncIterator[bytes]]:
        """Return the slug of the workspace that the request acts in, and the portions of its archive.

        Values of secrets are not in it. What changes meanwhile may be in it or not.

        Raises: Forbidden, NotFound; TooManyRequests if too many exports of the workspace are being read.
        """
        authorise(caller, Right.EXPORT)
        workspace = await self._workspaces.get(caller.account_id, caller.workspace_id)
        now = self._clock.now()
        portions = self._counted(workspace.id, _zipped(self._files(workspace, at=now), at=now))
        # A generator that has started runs its end, whatever becomes of the answer.
        first = await anext(portions)
        await self._audit.add(act(caller, "workspace.exported", "workspace", workspace.id, at=now))
        return workspace.slug, _beginning_with(first, portions)

    async def _counted(self, id: WorkspaceId, portions: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the portions of an archive, which counts until they have been read. Raises: TooManyRequests."""
        if self._open[id] >= MAX_OPEN:
            raise TooManyRequests(
                f"Export limit reached: {MAX_OPEN} exports of this workspace are being read. Wait for one of them",
                retry_after=SOON,
                limit="workspace_exports",
                most=MAX_OPEN,
            )
        self._open[id] += 1
        try:
            async for portion in portions:
                yield portion
        finally:
            self._open[id] -= 1
            if not self._open[id]:
                del self._open[id]

    async def _files(self, workspace: Workspace, *, at: datetime) -> AsyncIterator[_File]:
        id = workspace.id
        about = {"id": id, "name": workspace.name, "slug": workspace.slug, "exported_at": rfc3339(at)}
        yield "workspace.json", _once(_encode(about))
        yield "members.ndjson", self._members(id)
        yield "secrets.ndjson", self._secret_names(id)
        yield "config.ndjson", self._config_values(id)
        yield "store.ndjson", self._entries(id, at=at)
        yield "flows.ndjson", self._flow_lines(id)
        async for flow in self._flows(id):
            number = 0
            while (found := await self._store.definition(id, flow.id, after=number)) is not None:
                number, definition = found
                yield f"flows/{flow.id}/revisions/{number}.yaml", _once(definition.encode())
                if number == flow.revision:
                    yield f"flows/{flow.id}/flow.yaml", _once(definition.encode())
        yield "triggers.ndjson", self._trigger_lines(id)
        yield "callbacks.ndjson", self._callback_lines(id)
        yield "executions.ndjson", self._execution_lines(id)
        yield "events.ndjson", self._events(id)

    async def _members(self, id: WorkspaceId) -> AsyncIterator[bytes]:
        members, _ = await self._workspaces.members(id, page=Page(limit=MAX_MEMBERS))
        for member in members:
            yield _line({
                "account_id": member.account_id, "name": member.name, "email": member.email, "role": member.role,
                "owner": member.is_owner, "added_at": rfc3339(member.added_at),
            })  # fmt: skip

    async def _secret_names(self, id: WorkspaceId) -> AsyncIterator[bytes]:
        for secret in await self._secrets.list(id):
            yield _line({
                "key": secret.key, "created_at": rfc3339(secret.created_at), "updated_at": rfc3339(secret.updated_at),
            })  # fmt: skip

    async def _config_values(self, id: WorkspaceId) -> AsyncIterator[bytes]:
        stored, _ = await self._config.page(id, page=Page(limit=MAX_VALUES))
        for one in stored:
            yield _line({
                "name": one.name, "value": one.value,
                "created_at": rfc3339(one.created_at), "updated_at": rfc3339(one.updated_at),
            })  # fmt: skip

    async def _entries(self, id: WorkspaceId, *, at: datetime) -> AsyncIterator[bytes]:
        after = StoreKey("", "")
        while entries := await self._entry_store.entries(id, after=after, limit=_ENTRIES_AT_ONCE, now=at):
            yield b"".join(
                _line({
                    "namespace": entry.at.namespace, "key": entry.at.key,
                    "value": msgspec.Raw((entry.value or "null").encode()), "size": entry.size,
                    "expires_at": rfc3339_or_none(entry.expires_at),
                    "created_at": rfc3339(entry.created_at), "updated_at": rfc3339(entry.updated_at),
                })
                for entry in entries
            )  # fmt: skip
            after = entries[-1].at

    async def _flows(self, id: WorkspaceId) -> AsyncIterator[ExportedFlow]:
        flows = await self._store.flows(id, after="", limit=_FLOWS_AT_ONCE)
        while flows:
            for flow in flows:
                yield flow
            flows = await self._store.flows(id, after=flows[-1].id, limit=_FLOWS_AT_ONCE)

    async def _flow_lines(self, id: WorkspaceId) -> AsyncIterator[bytes]:
        async for flow in self._flows(id):
            yield _line({
                "id": flow.id, "name": flow.name, "description": flow.description, "version": flow.version,
                "tags": msgspec.Raw(flow.tags.encode()), "revision": flow.revision,
                "created_at": rfc3339(flow.created_at), "updated_at": rfc3339(flow.updated_at),
            })  # fmt: skip

    async def _trigger_lines(self, id: WorkspaceId) -> AsyncIterator[bytes]:
        """Yield the triggers, without the secret parts of their URLs; the documents of the flows say what they do."""
        cursor = ""
        # Not by offset: a flow that is deleted meanwhile would let others be skipped.
        while triggers := await self._triggers_after(id, cursor):
            for trigger in triggers:
                yield _line({
                    "id": trigger.id, "flow_id": trigger.flow_id, "name": trigger.name, "type": trigger.type,
                    "paused_at": rfc3339_or_none(trigger.paused_at),
                    "last_at": rfc3339_or_none(trigger.last_at),
                })  # fmt: skip
            cursor = triggers[-1].position

    async def _triggers_after(self, id: WorkspaceId, cursor: str) -> Sequence[TriggerView]:
        page = Page(limit=_TRIGGERS_AT_ONCE, cursor=cursor, counts=False)
        return (await self._triggers.page(id, flow_id=None, type=None, page=page))[0]

    async def _callback_lines(self, id: WorkspaceId) -> AsyncIterator[bytes]:
        """Yield the callbacks, without what could be a credential in their URLs, and without their signing secrets."""
        callbacks, _ = await self._callbacks.page(id, page=Page(limit=MAX_CALLBACKS))
        for callback in callbacks:
            yield _line({
                "id": callback.id, "name": callback.name, "events": list(callback.events), "format": callback.format,
                "address": callback.address, "flow_id": callback.flow_id, "tag": callback.tag,
                "children": callback.children, "template": callback.template,
                "created_at": rfc3339(callback.created_at), "updated_at": rfc3339(callback.updated_at),
                "disabled": callback.disabled_at is not None,
            })  # fmt: skip

    async def _executions(self, id: WorkspaceId) -> AsyncIterator[ExportedExecution]:
        executions = await self._store.executions(id, after="", limit=_EXECUTIONS_AT_ONCE)
        while executions:
            for execution in executions:
                yield execution
            executions = await self._store.executions(id, after=executions[-1].id, limit=_EXECUTIONS_AT_ONCE)

    async def _execution_lines(self, id: WorkspaceId) -> AsyncIterator[bytes]:
        async for execution in self._executions(id):
            yield _line({
                "id": execution.id, "flow_id": execution.flow_id, "revision": execution.revision,
                "status": execution.status, "started_at": rfc3339(execution.started_at),
                "completed_at": rfc3339_or_none(execution.completed_at), "error": execution.error,
                "parent_id": execution.parent_id, "rerun_of": execution.rerun_of,
            })  # fmt: skip

    async def _events(self, id: WorkspaceId) -> AsyncIterator[bytes]:
        async for execution in self._executions(id):
            events = await self._store.events(id, execution.id, after=0)
            while events:
                yield b"".join(
                    _line({
                        "execution_id": execution.id, "seq": event.seq, "at": rfc3339(event.at), "type": event.type,
                        "data": msgspec.Raw(event.data.encode()),
                    })
                    for event in events
                )  # fmt: skip
                events = await self._store.events(id, execution.id, after=events[-1].seq)


async def _beginning_with(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for portion in rest:
        yield portion


def _line(value: Mapping[str, Any]) -> bytes:
    return _encode(value) + b"\n"


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content


class _Output:
    """The bytes of an archive that have not been sent yet."""

    def __init__(self) -> None:
        self._portions: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._portions.append(bytes(data))
        return len(data)

    def flush(self) -> None: ...

    def take(self) -> bytes:
        taken = b"".join(self._portions)
        self._portions.clear()
        return taken


async def _zipped(files: AsyncIterator[_File], *, at: datetime) -> AsyncIterator[bytes]:
    output = _Output()
    # It cannot be sought in, so the archive is written from its beginning to its end.
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        async for name, content in files:
            info = zipfile.ZipInfo(name, at.timetuple()[:6])
            info.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(info, "w", force_zip64=True) as file:
                async for portion in content:
                    # On a thread: compressing the longest portion would block the event loop.
                    await asyncio.to_thread(file.write, portion)
                    yield output.take()
            yield output.take()
    yield output.take()
