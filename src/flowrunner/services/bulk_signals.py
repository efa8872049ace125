"""Signals to executions that the sender does not know by their ids."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.domain.errors import Conflict, NoExecutionToSignal, NotFound, invalid
from flowrunner.domain.status import Status
from flowrunner.domain.values import JSON, ExecutionId
from flowrunner.ports.page import Page
from flowrunner.services.account_locks import AccountLocks
from flowrunner.services.bulk_executions import MOST_PAGES, Selection
from flowrunner.services.executions import Executions
from flowrunner.services.signals import Signals

MAX_EXECUTIONS: Final = 100
_OPEN: Final = (Status.RUNNING, Status.WAITING)
_ENDED: Final = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)
# Ended executions that are asked whether they have taken an earlier request with the same key.
_MOST_ASKED: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SentSignals:
    """The executions that have taken a signal, and those that could not, each with the reason."""

    taken: Sequence[ExecutionId]
    refused: Sequence[tuple[ExecutionId, str]]


class BulkSignals:
    def __init__(self, executions: Executions, signals: Signals) -> None:
        self._executions = executions
        self._signals = signals
        self._locks = AccountLocks()

    async def send(
        self, caller: Caller, selection: Selection, key: str, payload: JSON, *, idempotency_key: str | None = None
    ) -> SentSignals:
        """Send a signal to each open execution of a selection, as `Signals.send` does; durable on return.

        Args:
            idempotency_key: A request with the same one, after an answer that was lost, reaches no execution twice.

        Raises:
            NoExecutionToSignal.
            Conflict: If none could take it.
            InvalidInput: If too many are selected, or the filter names a status of an ended execution.
        """
        authorise(caller, Right.RUN)
        if selection.filter.is_unrepaired or not set(selection.filter.statuses) <= set(_OPEN):
            raise invalid("filter.status", "must be running or waiting: an execution that has ended takes no signal")
        # The answer is kept with the key when all are done, so that a repeat after a crash goes on with the others.
        caller = replace(caller, request=None)
        # An account searches for one selection at a time.
        async with self._locks.of(caller):
            ids = await self._open(caller, selection)
            if not ids and idempotency_key is not None:
                ids = await self._taken_before(caller, selection, key, payload, idempotency_key)
        if not ids:
            raise NoExecutionToSignal
        taken: list[ExecutionId] = []
        refused: list[tuple[ExecutionId, str]] = []
        for id in ids:
            try:
                await self._signals.send(caller, id, key, payload, idempotency_key=idempotency_key)
            except (Conflict, NotFound) as error:
                # It has just ended, for example.
                refused.append((id, str(error)))
            else:
                taken.append(id)
        if not taken:
            raise Conflict(refused[0][1])
        return SentSignals(taken=taken, refused=refused)

    async def _open(self, caller: Caller, selection: Selection) -> Sequence[ExecutionId]:
        """Return the selected executions that have not ended, the oldest first. Raises: InvalidInput."""
        selection = replace(selection, filter=replace(selection.filter, statuses=selection.filter.statuses or _OPEN))
        found: list[ExecutionId] = []
        cursor: str | None = ""
        for _ in range(MOST_PAGES):
            # Let other tasks run: a page may be read without suspending.
            await asyncio.sleep(0)
            page = Page(limit=MAX_EXECUTIONS + 1, cursor=cursor, counts=False, is_reversed=True)
            ids, cursor = await self._page(caller, selection, page)
            found += ids
            if len(found) > MAX_EXECUTIONS:
                message = f"selects more than {MAX_EXECUTIONS} executions, and a signal goes to so many at most"
                raise invalid("filter", message, code="too_long", hint="narrow it: name the flow, or another input")
            if cursor is None:
                return found
        raise invalid("filter", "looks at too many executions", code="too_long", hint="narrow it by since and until")

    async def _taken_before(
        self, caller: Caller, selection: Selection, key: str, payload: JSON, idempotency_key: str
    ) -> Sequence[ExecutionId]:
        """Return the latest ended executions that have taken the same request before they ended."""
        ended = replace(selection, filter=replace(selection.filter, statuses=_ENDED))
        ids, _ = await self._page(caller, ended, Page(limit=_MOST_ASKED, counts=False))
        return [
            id for id in ids if await self._signals.has_taken(caller, id, key, payload, idempotency_key=idempotency_key)
        ]

    async def _page(self, caller: Caller, selection: Selection, page: Page) -> tuple[Sequence[ExecutionId], str | None]:
        listed = await self._executions.page(
            caller, selection.filter, page, flow=selection.flow, since=selection.since, until=selection.until
        )
        return [row.id for row in listed.items], listed.next_cursor
