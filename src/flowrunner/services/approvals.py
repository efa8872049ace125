"""Approvals that wait for the caller, in all workspaces."""

import asyncio
import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeAlias

import msgspec

from flowrunner.domain.account import Caller, Right, rights_of
from flowrunner.domain.approvals import has_role, is_named
from flowrunner.domain.errors import invalid
from flowrunner.domain.values import JSON, ExecutionId, FlowId, WorkspaceId
from flowrunner.domain.waits import ApprovalWait
from flowrunner.domain.workspace import WorkspaceRole
from flowrunner.ports.accounts import AccountStore
from flowrunner.ports.approvals import ApprovalReader, WaitingExecution
from flowrunner.ports.secrets import LONG_BYTES
from flowrunner.services.account_locks import AccountLocks
from flowrunner.stored_json import StoredJson

# What one request examines at most; the account may answer only some of it.
MOST_EXECUTIONS: Final = 1_000
MOST_BYTES: Final = 4 * 1024 * 1024
_PORTION: Final = 100
_PORTION_BYTES: Final = 1024 * 1024


class _Kind(msgspec.Struct):
    type: JSON = None


class _GivenAnswer(msgspec.Struct):
    by: str
    approved: bool


class _Waiting(msgspec.Struct):
    """A step that waits for an approval, as `domain.explain` describes it."""

    node: str
    step: str
    prompt: str
    since: datetime | None = None
    until: datetime | None = None
    form: msgspec.Raw = msgspec.Raw(b"null")
    roles: list[str] | None = None
    members: list[str] | None = None
    count: int | None = None
    link: bool = False
    answers: list[_GivenAnswer] = []

    @property
    def wait(self) -> ApprovalWait:
        return ApprovalWait(self.prompt, roles=self.roles, members=self.members, count=self.count)


_WAITS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_KIND: Final = msgspec.json.Decoder(_Kind)
_APPROVAL: Final = msgspec.json.Decoder(_Waiting)

# The place of an approval in the list, which is in descending order: start of the execution's last approval, execution,
# start of the step, step.
_Position: TypeAlias = tuple[datetime, str, datetime, str]
# The start of a step that is after all others of its execution in the list.
_END: Final = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingApproval:
    """An approval that waits for answers.

    Attributes:
        form: As it is stored: the values of a page of long forms would keep the event loop.
        since: Start of the step.
        until: Deadline of the wait; None for no limit.
        needed: Number of approvals that are needed.
        given: Number of approvals so far.
        has_link: Whether a link answers it, too.
    """

    execution_id: ExecutionId
    flow_id: FlowId
    flow_name: str
    workspace_id: WorkspaceId
    node: str
    step: str
    prompt: str
    form: bytes
    since: datetime
    until: datetime | None
    needed: int
    given: int
    has_link: bool


class Approvals:
    def __init__(self, reader: ApprovalReader, accounts: AccountStore) -> None:
        self._reader = reader
        self._accounts = accounts
        self._locks = AccountLocks()

    async def page(
        self, caller: Caller, *, after: str | None, limit: int, parameter: str = "after"
    ) -> tuple[Sequence[PendingApproval], str | None]:
        """Return a page of the approvals that the account may answer and has not answered, and where the page ends.

        The workspaces are those that the credential is admitted to. The execution with the latest approval comes first.
        A page may be short although more approvals follow; its end is None if none do.

        Args:
            after: The end of the previous page; None for the first page.
            parameter: The name that the caller gives it.

        Raises:
            InvalidInput: If ``after`` is not the end of a page.
        """
        last = None if after is None else _position(after, parameter)
        roles = {id: role for id in caller.admitted_to if (role := _role_in(caller, id)) is not None}
        if not roles:
            return [], None
        account = await self._accounts.get(caller.account_id)

        def may_answer(execution: WaitingExecution, waiting: _Waiting) -> bool:
            return (
                has_role(waiting.wait, roles[execution.workspace_id])
                and is_named(waiting.wait, account)
                and all(answer.by != account.id for answer in waiting.answers)
            )

        found: list[PendingApproval] = []
        executions = size = 0
        while executions < MOST_EXECUTIONS and size < MOST_BYTES:
            until = None if last is None else (last[0], ExecutionId(last[1]))
            portion = await self._reader.page(list(roles), until=until, limit=_PORTION, most_bytes=_PORTION_BYTES)
            portion_bytes = sum(len(execution.waiting_for) for execution in portion)
            # A form may be long. An account uses one thread at a time.
            if portion_bytes > LONG_BYTES:
                async with self._locks.of(caller):
                    pending = await asyncio.to_thread(_pending_after, last, portion, may_answer)
            else:
                pending = _pending_after(last, portion, may_answer)
            for position, approval in pending:
                if len(found) == limit:
                    assert last is not None, "the position of the last approval of the page"
                    return found, _text(last)
                found.append(approval)
                last = position
            end = None if not portion else (portion[-1].approval_at, portion[-1].id, _END, "")
            if end is None or end == last:
                return found, None
            last = end
            executions += len(portion)
            size += portion_bytes
        return found, None if last is None else _text(last)


def _role_in(caller: Caller, id: WorkspaceId) -> WorkspaceRole | None:
    """Return the account's role in a workspace; None if it may not answer approvals there, with any credential."""
    role = caller.role_in(id)
    return role if role is not None and Right.RUN in rights_of(caller.role, None, role) else None


def _pending_after(
    last: _Position | None,
    executions: Sequence[WaitingExecution],
    may_answer: Callable[[WaitingExecution, _Waiting], bool],
) -> list[tuple[_Position, PendingApproval]]:
    """Return the approvals after a position that may be answered, in the order of the list."""
    found: list[tuple[_Position, PendingApproval]] = []
    for execution in executions:
        placed: list[tuple[_Position, _Waiting]] = [
            ((execution.approval_at, execution.id, waiting.since or execution.approval_at, waiting.step), waiting)
            for waiting in _WAITING_FOR.read(execution.waiting_for, id=execution.id) or ()
        ]
        for position, waiting in sorted(placed, key=lambda each: each[0], reverse=True):
            if (last is None or position < last) and may_answer(execution, waiting):
                found.append((position, _pending(execution, waiting, since=position[2])))
    return found


def _approvals_in(waiting_for: str | bytes) -> list[_Waiting]:
    """Return the approvals among what an execution waits for. Raises: msgspec.MsgspecError."""
    waits = _WAITS.decode(waiting_for)
    return [_APPROVAL.decode(wait) for wait in waits if _KIND.decode(wait).type == "approval"]


_WAITING_FOR: Final = StoredJson[list[_Waiting]](None, column="executions.waiting_for", decode=_approvals_in)


def _pending(execution: WaitingExecution, waiting: _Waiting, *, since: datetime) -> PendingApproval:
    return PendingApproval(
        execution_id=execution.id,
        flow_id=execution.flow_id,
        flow_name=execution.flow_name,
        workspace_id=execution.workspace_id,
        node=waiting.node,
        step=waiting.step,
        prompt=waiting.prompt,
        form=bytes(waiting.form),
        since=since,
        until=waiting.until,
        needed=waiting.wait.needed,
        given=sum(answer.approved for answer in waiting.answers),
        has_link=waiting.link,
    )


def _text(position: _Position) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode()


def _position(text: str, parameter: str) -> _Position:
    """Return the position that `_text` has written. Raises: InvalidInput."""
    fault = invalid(parameter, f"is not the '{'next' if parameter == 'after' else 'next_cursor'}' of a page")
    try:
        position: _Position = msgspec.json.decode(base64.urlsafe_b64decode(text), type=_Position)
    except (ValueError, msgspec.MsgspecError):
        raise fault from None
    if any(at.tzinfo is None for at in (position[0], position[2])):
        raise fault
    return position
