"""What a message of a callback says: of the event at its time, in the format of its receiver."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.expression import ExpressionFailed
from flowrunner.domain.values import ExecutionId, rfc3339
from flowrunner.ports.callbacks import CallbackId, CallbackView, DeliveryId, DeliveryView
from flowrunner.services import callback_messages
from flowrunner.services.callback_messages import CallbackMessages, CallbackRequest, compiled
from flowrunner.services.callback_secrets import Credentials
from flowrunner.storage.executions import SqlExecutions
from flowrunner.storage.flows import SqlFlows
from flowrunner.storage.journal import SqlJournal
from support.databases import MARA, NOON, add_flows, completion, creation, new_database_file, open_database

LATER: Final = NOON + timedelta(minutes=5)
# The events of a test are a millisecond apart.
ENDED_AT: Final = LATER + timedelta(milliseconds=4)
EXECUTION: Final = DeliveryView(
    id=DeliveryId("delivery-1"), workspace_id=MARA, callback_id=CallbackId("callback-1"), event="execution.completed",
    execution_id=ExecutionId("exec-1"), seq=4, noted_at=NOON,
)  # fmt: skip
TRIGGER: Final = replace(
    EXECUTION, event="trigger.failing", execution_id=None, seq=None, subject="trig-1", details={"flow_id": "flow-1"}
)


@pytest.fixture
async def messages(tmp_path: Path) -> AsyncIterator[CallbackMessages]:
    database = open_database(add_flows(new_database_file(tmp_path / "flowrunner.db")))
    journal = SqlJournal(database)
    epoch = await journal.claim()
    await journal.append(creation("exec-1", epoch=epoch, labels={"team": "core"}))
    await journal.append(completion("exec-1", epoch=epoch, result={"sent": "x" * 50}, at=LATER))
    yield CallbackMessages(SqlExecutions(database), journal, SqlFlows(database), public_url="https://flows.example.com")
    await database.close()


async def test_an_execution_is_told_as_it_ended(messages: CallbackMessages) -> None:
    event = await messages.event_of(EXECUTION, workspace_name="Data")

    assert (event.id, event.type, event.subject, event.at) == ("delivery-1", "execution.completed", "exec-1", ENDED_AT)
    told: Any = event.data["execution"]
    assert told == {
        "id": "exec-1", "flow_id": "flow-1", "flow_name": told["flow_name"], "status": "completed",
        "result": {"sent": "x" * 50}, "error": None, "started_at": rfc3339(NOON), "completed_at": rfc3339(ENDED_AT),
        "labels": {"team": "core"},
    }  # fmt: skip
    assert (event.workspace_name, event.depth) == ("Data", 1)
    assert event.link == f"https://flows.example.com/w/{MARA}/executions/exec-1"
    assert messages.source(event) == f"https://flows.example.com/workspaces/{MARA}"


async def test_a_wait_is_told_as_a_wait_although_the_execution_has_ended_since(messages: CallbackMessages) -> None:
    event = await messages.event_of(replace(EXECUTION, event="execution.waiting", seq=2), workspace_name="Data")

    told: Any = event.data["execution"]
    assert (told["status"], told["result"], told["error"], told["completed_at"]) == ("waiting", None, None, None)
    assert event.at == NOON + timedelta(milliseconds=2)


async def test_a_result_that_is_too_long_is_told_by_its_size(
    messages: CallbackMessages, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(json.dumps({"sent": "x" * 50}, separators=(",", ":")))
    results = []
    for most in (size, size - 1):
        monkeypatch.setattr(callback_messages, "MOST_RESULT_BYTES", most)
        told: Any = (await messages.event_of(EXECUTION, workspace_name="Data")).data["execution"]
        results.append((told["result"], told.get("result_bytes")))

    assert results == [({"sent": "x" * 50}, None), (None, size)]


async def test_an_execution_that_is_gone_is_told_by_its_id(messages: CallbackMessages) -> None:
    event = await messages.event_of(replace(EXECUTION, execution_id=ExecutionId("exec-9")), workspace_name="Data")

    assert (event.data, event.at, event.subject) == ({"execution": {"id": "exec-9"}}, NOON, "exec-9")


@pytest.mark.parametrize(
    ("delivery", "page"),
    [
        (TRIGGER, "flows/flow-1/triggers"),
        (replace(TRIGGER, details={"callback": {"id": "callback-1"}}), "callbacks"),
        (replace(TRIGGER, details={"flow_id": 7}), "callbacks"),
    ],
)
async def test_an_event_without_an_execution_leads_to_its_page(
    messages: CallbackMessages, delivery: DeliveryView, page: str
) -> None:
    event = await messages.event_of(delivery, workspace_name="Data")

    assert event.link == f"https://flows.example.com/w/{MARA}/{page}"
    assert (event.subject, event.data, event.at, event.depth) == ("trig-1", delivery.details, NOON, 0)


async def request(messages: CallbackMessages, **callback: Any) -> CallbackRequest:
    view = CallbackView(
        id=CallbackId("callback-1"), workspace_id=MARA, name="C", events=["execution.completed"], address="https://x",
        created_at=NOON, updated_at=NOON, **callback,
    )  # fmt: skip
    event = await messages.event_of(EXECUTION, workspace_name="Data")
    return await messages.message(view, event, credentials=Credentials.new("https://x"), now=NOON)


@pytest.mark.parametrize(
    ("template", "type", "body"),
    [
        ("${event.subject}: ${event.data.execution.status}", "text/plain; charset=utf-8", b"exec-1: completed"),
        (
            {"id": "${event.data.execution.id}", "at": "${event.link}"}, "application/json",
            f'{{"id":"exec-1","at":"https://flows.example.com/w/{MARA}/executions/exec-1"}}'.encode(),
        ),
        ("${event.data.execution.result}", "application/json", b'{"sent":"' + b"x" * 50 + b'"}'),
    ],
)  # fmt: skip
async def test_a_template_makes_a_text_or_json_that_is_signed(
    messages: CallbackMessages, template: Any, type: str, body: bytes
) -> None:
    sent = await request(messages, format="template", template=template)

    assert (sent.body, sent.headers["Content-Type"]) == (body, type)
    assert {name.lower() for name in sent.headers} >= {"webhook-id", "webhook-timestamp", "webhook-signature"}
    assert sent.headers["FlowRunner-Depth"] == "1"


async def test_a_chat_gets_a_message_without_a_signature(messages: CallbackMessages) -> None:
    for format, member in (("slack", "text"), ("discord", "content"), ("teams", "attachments")):
        sent = await request(messages, format=format)

        assert sent.headers == {"Content-Type": "application/json"}
        assert member in json.loads(sent.body)


async def test_a_cloud_event_is_the_event(messages: CallbackMessages) -> None:
    sent = await request(messages, format="standard")

    said = json.loads(sent.body)
    assert sent.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert (said["id"], said["subject"], said["data"]["execution"]["id"]) == ("delivery-1", "exec-1", "exec-1")
    signature = sent.headers["webhook-signature"]
    assert signature.startswith("v1,")
    assert len(base64.b64decode(signature.removeprefix("v1,"))) == 32


async def test_a_template_that_is_missing_or_has_no_value_makes_no_message(messages: CallbackMessages) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        await request(messages, format="template")
    with pytest.raises(ExpressionFailed):
        await request(messages, format="template", template="${event.data.gone.id}")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("x" * 16_383, "is longer than 16384 bytes"),
        ("${input.a}", "input"),
        ("${event.data.a + 1}", "JavaScript is not evaluated here"),
        ({"a": ["${event.id.trim()}"]}, "JavaScript is not evaluated here"),
    ],
)
def test_a_template_reads_the_event_by_paths_alone(template: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as refusal:
        compiled(template)

    (fault,) = refusal.value.faults
    assert fault.path == "template"
    assert message in fault.message


def test_a_template_may_be_as_long_as_is_said() -> None:
    compiled("x" * 16_382)
