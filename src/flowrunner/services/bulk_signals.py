"""Signals to executions that the sender does not know by their ids."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from flowrunner.bounded_json import BoundedDecoder
from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.domain.errors import Conflict, NoExecutionToSignal, NotFound, invalid
from flowrunner.domain.request_keys import KeptAnswer, RequestKey, RequestKeyTaken
from flowrunner.domain.status import Status
from flowrunner.domain.values import JSON, AccountId, ExecutionId
from flowrunner.ports.usage import BLOCK
from flowrunner.services.account_locks import Locks
from flowrunner.services.readmission import readmit
from flowrunner.services.request_keys import RequestKeys
from flowrunner.services.selections import Selection, Selections
from flowrunner.services.signals import Signals, check_key, signal_request
from flowrunner.services.usage import UsageLimits
from flowrunner.tasks import all_ended
from flowrunner.threads import on_thread_if

MAX_EXECUTIONS: Final = 100
_OPEN: Final = (Status.RUNNING, Status.WAITING)
_AT_A_TIME: Final = 8
# What an execution may store beside the payload: the other fields of the event, which are below a block, and a block.
_BESIDE_PAYLOAD: Final = 2 * BLOCK

_encode: Final = msgspec.json.Encoder().encode
_ids: Final = BoundedDecoder[list[ExecutionId]](list[ExecutionId])


@dataclass(frozen=True, slots=True, kw_only=True)
class SentSignals:
    """The executions that have taken a signal, and those that could not, each with the reason."""

    taken: Sequence[ExecutionId]
    refused: Sequence[tuple[ExecutionId, str]]


class BulkSignals:
    def __init__(self, selections: Selections, signals: Signals, keys: RequestKeys, usage: UsageLimits) -> None:
        self._selections = selections
        self._signals = signals
        self._keys = keys
        self._usage = usage
        # No `AccountLocks`, which admit a request again at the end: what was sent is answered in any case.
        self._sending: Locks[AccountId] = Locks()

    async def send(self, caller: Caller, selection: Selection, key: str, payload: JSON) -> SentSignals:
        """Send a signal to each open execution of a selection, as `Signals.send` does; durable on return.

        With an idempotency key, a request after an answer that was lost reaches the same executions, and none twice.

        Raises:
            NoExecutionToSignal.
            Conflict: If none could take it, or the workspace may not store it in all of them.
            InvalidInput: If too many are selected, the filter names a status of an ended execution, or the key is none.
        """
        authorise(caller, Right.RUN)
        check_key(key)
        # The answer is kept with the key when all are done, so that a repeat after a crash goes on with the others.
        request, caller = caller.request, replace(caller, request=None)
        # The search is a request by itself, whose answer is kept before the first signal is sent.
        search = None if request is None else replace(request, key=f"search {request.key}", sent=None)
        # An account sends to one selection at a time.
        async with self._sending.of(caller.account_id):
            await readmit()
            size = len(_encode(payload))
            ids = await self._selected(caller, selection, search, size=size + _BESIDE_PAYLOAD)
            key_sent = None if request is None else request.sent
            # One for all executions: its digest takes as long as the payload is large.
            signal = await on_thread_if(size, signal_request, key_sent, key, payload)

            async def send(id: ExecutionId) -> str | None:
                """Return the reason why an execution could not take it."""
                try:
                    await self._signals.send(caller, id, key, payload, request=signal)
                except (Conflict, NotFound) as error:
                    # It has just ended, for example.
                    return str(error)
                return None

            taken: list[ExecutionId] = []
            refused: list[tuple[ExecutionId, str]] = []
            for start in range(0, len(ids), _AT_A_TIME):
                portion = ids[start : start + _AT_A_TIME]
                # An error raises after the whole portion: a repeat must not run beside it.
                outcomes = await all_ended(*map(send, portion))
                for id, outcome in zip(portion, outcomes, strict=True):
                    if outcome is None:
                        taken.append(id)
                    else:
                        refused.append((id, outcome))
            if not taken and search is not None:
                # A rejected request does not use up its key.
                await self._keys.forget(caller, search.key)
        if not taken:
            raise Conflict(refused[0][1])
        return SentSignals(taken=taken, refused=refused)

    async def _selected(
        self, caller: Caller, selection: Selection, search: RequestKey | None, *, size: int
    ) -> Sequence[ExecutionId]:
        """Return the executions that the first request with the key has found, the oldest first.

        Args:
            size: The most bytes that each stores.

        Raises: InvalidInput; NoExecutionToSignal; LimitReached; RequestKeyTaken if the first was just forgotten.
        """
        if search is not None and (before := await self._keys.answer_before(caller, search)) is not None:
            return _ids.decode(before.body)
        ids = await self._open(caller, selection)
        if not ids:
            raise NoExecutionToSignal
        # An execution that cannot store a signal fails.
        await self._usage.check_stored(caller.workspace_id, more=size * len(ids))
        if search is not None:
            try:
                await self._keys.keep(caller, search, KeptAnswer(200, {}, _encode(ids).decode()))
            except RequestKeyTaken:
                # Another server has found some meanwhile.
                if (before := await self._keys.answer_before(caller, search)) is None:
                    raise
                return _ids.decode(before.body)
        return ids

    async def _open(self, caller: Caller, selection: Selection) -> Sequence[ExecutionId]:
        """Return the selected executions that have not ended, the oldest first. Raises: InvalidInput."""
        wanted = selection.filter
        if wanted.is_unrepaired:
            raise invalid("filter.unrepaired", "selects failed executions: one that has ended takes no signal")
        if not set(wanted.statuses) <= set(_OPEN):
            raise invalid("filter.status", "must be running or waiting: an execution that has ended takes no signal")
        selection = replace(selection, filter=replace(wanted, statuses=wanted.statuses or _OPEN))
        return await self._selections.search(caller, selection, most=MAX_EXECUTIONS, check=_check_count)


def _check_count(count: int) -> None:
    """Raises: InvalidInput."""
    if count > MAX_EXECUTIONS:
        message = f"selects more than {MAX_EXECUTIONS} executions, and a signal goes to so many at most"
        raise invalid("filter", message, code="too_long", hint="narrow it: name the flow, or another input")
