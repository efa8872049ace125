"""Signals to waiting executions, and answers to approvals."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from flowrunner.domain.account import Caller
from flowrunner.domain.approvals import LOWEST_ROLE, has_address, has_role, is_named
from flowrunner.domain.audit import act
from flowrunner.domain.errors import Conflict, Fault, Forbidden, InvalidInput, NotFound, invalid
from flowrunner.domain.events import Step
from flowrunner.domain.execution import ExecutionState
from flowrunner.domain.request_keys import key_was_reused
from flowrunner.domain.step_state import StepState
from flowrunner.domain.values import JSON, AccountId, ExecutionId, WorkspaceId, rfc3339
from flowrunner.domain.waits import ApprovalWait, signal_key
from flowrunner.language.inputs import Form
from flowrunner.language.json_schema import SchemaEngine
from flowrunner.language.schema_budget import SchemaBudget
from flowrunner.ports.accounts import AccountStore
from flowrunner.ports.clock import Clock
from flowrunner.ports.dispatch import Dispatcher, Signal
from flowrunner.ports.executions import ExecutionReader
from flowrunner.ports.secrets import SecretReader
from flowrunner.services.account_locks import AccountLocks
from flowrunner.services.audit import name_in_entry
from flowrunner.services.replays import Replays
from flowrunner.services.request_keys import digest_of_request

MAX_KEY_CHARACTERS: Final = 200


def check_key(key: str) -> None:
    """Raises: InvalidInput if no signal can have the key."""
    if not 0 < len(key) <= MAX_KEY_CHARACTERS or not key.isprintable():
        raise invalid("key", f"must have 1 to {MAX_KEY_CHARACTERS} printable characters")


def checked_data(form: JSON, data: JSON, *, approved: bool, schemas: SchemaEngine) -> JSON:
    """Return the data of an answer to an approval, with the defaults of its form applied.

    An approval without data has an empty object, if the form takes that.

    Raises:
        InvalidInput: If the data do not match the form.
        Conflict: If the form is not a usable schema.
    """
    # A rejection may leave the form empty.
    if form is None or (not approved and data is None):
        return data
    try:
        budget = SchemaBudget(schemas)
        read = Form(form, budget)
        try:
            return read.check(data, budget)
        except InvalidInput:
            if data is not None:
                raise
        # A form whose fields are optional or have defaults may be left empty.
        return read.check({}, budget)
    except InvalidInput:
        if data is not None:
            raise
        hint = "the approval requires it: see the form in the execution's 'waiting_for'"
        raise InvalidInput([Fault(path="data", code="required", message="is missing", hint=hint)]) from None
    except ValueError as error:
        # The resolved values of its expressions do not make a schema.
        raise Conflict(f"This approval cannot be answered: {error}") from None


def signal_request(idempotency_key: str | None, key: str, payload: JSON) -> str | None:
    """Return the digests that identify the request for a signal; None without an idempotency key.

    Raises:
        InvalidInput: If no signal can have the key.
    """
    check_key(key)
    return _request(idempotency_key, ["signal", key, payload])


class Signals:
    def __init__(
        self,
        reader: ExecutionReader,
        replays: Replays,
        dispatcher: Dispatcher,
        *,
        accounts: AccountStore,
        vault: SecretReader,
        schemas: SchemaEngine,
        clock: Clock,
    ) -> None:
        self._reader = reader
        self._vault = vault
        self._accounts = accounts
        self._replays = replays
        self._dispatcher = dispatcher
        self._schemas = schemas
        self._clock = clock
        self._checking = AccountLocks()

    async def send(
        self, caller: Caller, id: ExecutionId, key: str, payload: JSON, *, request: str | None = None
    ) -> None:
        """Send a payload to the step that waits for ``key``, or to the next step that will; durable on return.

        Args:
            request: What `signal_request` returns for the key and the payload.

        Raises:
            NotFound.
            Conflict: If the execution has ended, or has too many signals that no step has taken.
            InvalidInput: If the idempotency key was used for another request to the execution.
        """
        check_key(key)
        # The entry omits the key, which may be any text.
        entry = act(caller, "execution.signalled", "execution", id, at=self._clock.now())
        sent = signal_key("signal", key)
        signal = Signal(key=sent, payload=payload, by=caller.account_id, request=request, audit=entry)

        async def send() -> None:
            if not await self._dispatcher.signal(id, signal):
                raise Conflict(
                    "The execution keeps as many signals as it may for steps that do not wait yet: send this one again "
                    "when a step waits for its key"
                )

        await self._once(caller, id, request, send)

    async def answer(
        self,
        caller: Caller,
        id: ExecutionId,
        node: str,
        *,
        approved: bool,
        data: JSON,
        idempotency_key: str | None = None,
    ) -> None:
        """Answer an approval, once for each account. Durable on return.

        Args:
            node: The node that waits, or the step if several runs of the node wait.

        Raises:
            NotFound.
            Conflict: If nothing waits for approval there, the caller has answered, or the form is not a usable schema.
            Forbidden: If the approval is for other roles or members.
            InvalidInput: If the data do not match the form, or the idempotency key was used for another request to
                the execution.
        """
        # Two accounts may choose the same key, and both of their answers count.
        request = _request(idempotency_key, ["approval", node, approved, data], of=caller.account_id)

        async def answer() -> None:
            await self._answer(caller, id, node, approved=approved, data=data, request=request)

        await self._once(caller, id, request, answer)

    async def node_in_entry(self, workspace_id: WorkspaceId, step: Step) -> str:
        """Return the name of a step's node for an entry in the audit log."""
        return await name_in_entry(self._vault, workspace_id, step.node)

    async def _answer(
        self, caller: Caller, id: ExecutionId, node: str, *, approved: bool, data: JSON, request: str | None
    ) -> None:
        waiting = await self.waiting_for_approval(caller, id, node)
        step, wait = waiting.step, waiting.wait_for
        assert isinstance(wait, ApprovalWait), "no other wait was looked for"
        await self._check_may_answer(caller, wait)
        if any(given.by == caller.account_id for given in waiting.answers):
            raise Conflict("You have answered this approval already")
        # On a thread: resolved expressions may make the form long. An account uses one of the threads at a time.
        async with self._checking.of(caller):
            data = await asyncio.to_thread(checked_data, wait.form, data, approved=approved, schemas=self._schemas)
        answer: JSON = {
            "approved": approved,
            "by": caller.account_id,
            "at": rfc3339(self._clock.now()),
            "data": data,
        }
        key = signal_key("approval", str(step))
        shown = await self.node_in_entry(caller.workspace_id, step)
        details: dict[str, JSON] = {"node": shown, "approved": approved}
        entry = act(caller, "execution.approval.answered", "execution", id, at=self._clock.now(), details=details)
        signal = Signal(key=key, payload=answer, by=caller.account_id, if_awaited=True, request=request, audit=entry)
        if not await self._dispatcher.signal(id, signal):
            raise Conflict("This approval has been answered already")

    async def _check_may_answer(self, caller: Caller, wait: ApprovalWait) -> None:
        """Raises: Forbidden."""
        role = caller.role_in(caller.workspace_id)
        if role is None or not has_role(wait, role):
            raise Forbidden(f"This approval is for: {', '.join(wait.roles or (LOWEST_ROLE,))}")
        if wait.members is None:
            return
        account = await self._accounts.get(caller.account_id)
        if not is_named(wait, account):
            if any(has_address(member, account) for member in wait.members):
                raise Forbidden("Your e-mail address is not confirmed: confirm it in your account, or ask an admin to")
            raise Forbidden("This approval is for other members of the workspace")

    async def _once(
        self, caller: Caller, id: ExecutionId, request: str | None, send: Callable[[], Awaitable[None]]
    ) -> None:
        """Send a request once; its repeat succeeds too, even after the execution has ended.

        Raises: NotFound if there is no such execution of the caller's account; Conflict if it has ended.
        """
        execution = await self._reader.get(caller.workspace_id, id)
        try:
            if execution.status.is_final:
                raise Conflict(f"The execution has already ended: it is {execution.status.value}")
            await send()
        except (Conflict, NotFound):
            if request is None or not await self._was_taken(caller, id, request):
                raise

    async def _was_taken(self, caller: Caller, id: ExecutionId, request: str) -> bool:
        """Return whether the request was taken before. Raises: InvalidInput if its key was used for another one."""
        key, _, asked = request.partition(":")
        known = await self._replays.of_state(caller, id, lambda state: state.requests.get(key))
        if known not in (None, asked):
            raise key_was_reused()
        return known is not None

    async def waiting_for_approval(self, caller: Caller, id: ExecutionId, node: str) -> StepState:
        waiting, is_known = await self._replays.of_state(caller, id, lambda state: _approvals(state, node))
        found = [current for current in waiting if node in (current.step.node, str(current.step))]
        if len(found) == 1:
            return found[0]
        if found:
            steps = ", ".join(str(current.step) for current in found[:10])
            raise Conflict(f"Several runs of '{node}' wait for approval; name one of them: {steps}")
        if is_known or waiting:
            steps = ", ".join(str(current.step) for current in waiting[:10])
            raise Conflict(f"'{node}' does not wait for approval" + (f"; what does: {steps}" if steps else ""))
        raise NotFound(f"approval '{node}'")


def _request(idempotency_key: str | None, asked: JSON, *, of: AccountId | None = None) -> str | None:
    """Return the digests that identify a request; None without a key.

    Args:
        of: The account whose key it is; None if all callers share the keys of the execution.
    """
    if idempotency_key is None:
        return None
    key: JSON = idempotency_key if of is None else [of, idempotency_key]
    return f"{digest_of_request(key)[:32]}:{digest_of_request(asked)[:32]}"


def _approvals(state: ExecutionState, node: str) -> tuple[Sequence[StepState], bool]:
    """Return the steps that wait for approval, and whether the node has started in any scope."""
    waiting = [current for current in map(state.at, state.timed) if isinstance(current.wait_for, ApprovalWait)]
    return waiting, any(node in frame.steps for frame in state.frames.values())
