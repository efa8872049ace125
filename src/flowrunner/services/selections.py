"""Selections of executions: those with the ids, or those that a list with a filter has."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import invalid
from flowrunner.domain.values import ExecutionId
from flowrunner.ports.executions import ExecutionFilter
from flowrunner.ports.page import Page
from flowrunner.services.account_locks import AccountLocks
from flowrunner.services.executions import Executions

_ALL: Final = ExecutionFilter()
_ROWS_AT_ONCE: Final = 1_000
# A page looks at 1,000 executions, or 500 if it is the first, and may find none: together 100,000 at least, more than a
# day of one execution a second. A job may have one in ten of them.
MOST_PAGES: Final = 101


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The executions of a request: those with the ids, or those that a list with the filter has.

    Attributes:
        filter: If it names no status, those that suit the action. A rerun leaves out what has been rerun since.
        flow: See `Executions.page`; as ``since`` and ``until``.
    """

    ids: Sequence[ExecutionId] = ()
    filter: ExecutionFilter = _ALL
    flow: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Selections:
    def __init__(self, executions: Executions) -> None:
        self._executions = executions
        self._locks = AccountLocks()

    async def search(
        self,
        caller: Caller,
        selection: Selection,
        *,
        most: int,
        check: Callable[[int], None],
    ) -> Sequence[ExecutionId]:
        """Return the executions that the filter of a selection finds, the oldest first.

        Args:
            selection: Its ids are not read.
            most: The number of executions that may be found.
            check: Called with the number of those found so far, or of all; it raises InvalidInput if it is beyond
                ``most``.

        Raises:
            InvalidInput: If too many are found, or looked at.
        """
        # An account searches for one selection at a time.
        async with self._locks.of(caller):
            found: list[ExecutionId] = []
            cursor: str | None = ""
            for _ in range(MOST_PAGES):
                # Let other tasks run: a page may be read without suspending.
                await asyncio.sleep(0)
                # Only the first page of several counts: to count, a page looks at fewer executions.
                counts = cursor == "" and most > _ROWS_AT_ONCE
                page = Page(limit=min(most + 1, _ROWS_AT_ONCE), cursor=cursor, counts=counts, is_reversed=True)
                listed = await self._executions.page(
                    caller, selection.filter, page, flow=selection.flow, since=selection.since, until=selection.until
                )
                found += [row.id for row in listed.items]
                check(max(len(found), listed.total or 0))
                cursor = listed.next_cursor
                if cursor is None:
                    return found
        raise invalid("filter", "looks at too many executions", code="too_long", hint="narrow it by since and until")
