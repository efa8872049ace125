"""The list of approvals that wait for an account."""

from typing import Any

from flowrunner.domain.account import Caller
from flowrunner.domain.values import ExecutionId, FlowId
from flowrunner.ports.approvals import WaitingExecution
from flowrunner.services.approvals import Approvals
from support.databases import MARA, NOON, account


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
