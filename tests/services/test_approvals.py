"""The list of approvals that wait for an account."""

from typing import Any

import pytest

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Forbidden
from flowrunner.domain.values import AccountId, ExecutionId, FlowId
from flowrunner.ports.approvals import WaitingExecution
from flowrunner.services.approvals import Approvals
from support.databases import MARA, NOON, account, change
from support.dependencies import Machine

from .callers import member_caller_of


class Waiting:
    """One execution that waits, as a store of executions and of accounts."""

    def __init__(self, waiting_for: bytes) -> None:
        self._one = WaitingExecution(
            id=ExecutionId("exec-1"),
            flow_id=FlowId("flow-1"),
            flow_name="Pay",
            workspace_id=MARA,
            approval_at=NOON,
            waiting_for=waiting_for,
        )

    async def page(self, *_: object, until: object, **__: object) -> list[WaitingExecution]:
        return [self._one] if until is None else []

    async def get(self, _: object) -> Any:
        return account()


async def test_a_form_stays_as_it_is_stored_because_a_page_of_long_ones_would_keep_the_event_loop(mara: Caller) -> None:
    form = b'{"enum": [1.0, 1e-320, {"b": 1, "a": 2}]}'
    waits: Any = Waiting(
        b'[{"type": "poll"}, {"type": "approval", "node": "ask", "step": "ask.1", "prompt": "Pay?", "form": %s},'
        b' {"type": "approval", "node": "tell", "step": "tell.1", "prompt": "Paid?"}, {"key": "k"}]' % form
    )

    found, end = await Approvals(waits, waits).page(mara, after=None, limit=10)

    assert {approval.step: approval.form for approval in found} == {"ask.1": form, "tell.1": b"null"}
    assert end is None


async def test_approvals_of_one_execution_come_one_after_another_the_latest_step_first(mara: Caller) -> None:
    steps = [
        b'{"type": "approval", "node": "%s", "step": "%s.1", "prompt": "Pay?"}' % (name, name)
        for name in (b"b", b"a", b"c")
    ]
    waits: Any = Waiting(b"[%s]" % b",".join(steps))

    found, _ = await Approvals(waits, waits).page(mara, after=None, limit=2)

    assert [approval.step for approval in found] == ["c.1", "b.1"]


BOTH = "nodes: {ask: {type: approval, params: {prompt: Pay?, count: 2}}}"


async def test_two_accounts_may_use_the_same_idempotency_key_and_both_answers_count(
    engine: Machine, mara: Caller
) -> None:
    execution = await engine.executions.run(mara, await engine.save(BOTH), {})
    await engine.until_parked(execution.id)
    omar = member_caller_of(AccountId("account-omar"), MARA, "operator")

    for caller in (mara, omar, omar):
        await engine.signals.answer(caller, execution.id, "ask", approved=True, data=None, idempotency_key="k")

    await engine.until_ended(execution.id)
    assert await engine.status(execution.id) == "completed"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ("[x@example.com, account-omar@example.com]", "is not confirmed"), ("[x@example.com]", "for other members"),
        ("[account-mara]", "for other members"),
    ],
)  # fmt: skip
async def test_an_account_that_may_not_answer_is_told_whether_its_address_is_only_not_confirmed(
    engine: Machine, mara: Caller, members: str, message: str
) -> None:
    change(engine.path, "UPDATE accounts SET email_confirmed_at = NULL WHERE id = 'account-omar'")
    flow = f"nodes: {{ask: {{type: approval, params: {{prompt: Pay?, members: {members}}}}}}}"
    execution = await engine.executions.run(mara, await engine.save(flow), {})
    await engine.until_parked(execution.id)
    omar = member_caller_of(AccountId("account-omar"), MARA, "operator")

    with pytest.raises(Forbidden, match=message):
        await engine.signals.answer(omar, execution.id, "ask", approved=True, data=None)
