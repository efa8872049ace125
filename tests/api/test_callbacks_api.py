"""Callbacks over REST: made, changed, told of what happens, tested and repeated."""

import json
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from msgspec import UNSET

from api.shapes import SMALLEST, assert_error, assert_recent
from flowrunner.api.callbacks import DeliveryAnswer
from flowrunner.domain.values import rfc3339
from flowrunner.domain.verification import Standard, Verified, verify
from flowrunner.ports.callbacks import CallbackId, DeliveryId, DeliveryView
from support.client import Client
from support.databases import MARA, NOON
from support.receiver import Effect, Receiver
from support.waiting import wait_for

CALLBACKS: Final = "/api/v1/callbacks"
FAILING: Final = "nodes:\n  only: {type: fail, params: {message: 'out of <paper> & @everyone'}}\n"
ASKING: Final = "nodes:\n  ask: {type: approval, params: {prompt: Ship it?}}\n"
ALL: Final = [
    "execution.completed",
    "execution.failed",
    "execution.cancelled",
    "execution.waiting",
    "approval.requested",
]


def new_callback(client: Client, receiver: Receiver, **fields: Any) -> tuple[Any, str]:
    """A callback, and a path of the receiver that is its alone."""
    path = fields.pop("path", "/ok") + "/" + secrets.token_hex(8)
    reply = client.post(CALLBACKS, {"url": receiver.url + path, "events": ALL, **fields})
    assert reply.status == 201, reply
    return reply.json, path


def arrived(receiver: Receiver, path: str, count: int = 1) -> Sequence[Effect]:
    wait_for(lambda: len(receiver.effects(path)) >= count)
    return receiver.effects(path)


def event_of(effect: Effect) -> Any:
    return effect.json


def test_a_callback_shows_its_secret_once_and_no_credential_of_its_url(account: Client) -> None:
    body = {"url": "https://example.com:8443/a?token=verysecret", "events": ["execution.failed"], "name": "Alerts"}

    new = account.post(CALLBACKS, body)

    assert new.status == 201
    id = new.json["id"]
    assert new.headers["location"] == f"{CALLBACKS}/{id}"
    assert new.json["secret"].startswith("whsec_")
    assert new.json["url"] == "https://example.com:8443/a?…"
    read = account.get(f"{CALLBACKS}/{id}")
    assert read.json == {key: value for key, value in new.json.items() if key != "secret"}
    assert_recent(read.json["created_at"])
    listed = account.get(CALLBACKS)
    assert listed.json == {"callbacks": [read.json], "total": 1, "limit": 10, "offset": 0}
    for reply in (new, read, listed):
        assert b"verysecret" not in reply.body


@pytest.mark.parametrize("format", ["slack", "discord", "teams"])
def test_a_callback_to_a_chat_shows_no_path_and_has_no_secret_because_its_messages_are_not_signed(
    account: Client, format: str
) -> None:
    body = {"url": "https://hooks.slack.com/services/T0/B0/verysecret?a=b", "events": ["execution.failed"]}

    new = account.post(CALLBACKS, {**body, "format": format})

    assert new.status == 201
    assert new.json["url"] == "https://hooks.slack.com/…"
    assert "secret" not in new.json
    refused = account.post(f"{CALLBACKS}/{new.json['id']}/rotate")
    assert refused.status == 409
    assert f"Messages of the format '{format}' are not signed" in refused.json["error"]["message"]


def test_a_rotated_secret_signs_beside_the_one_before_it_and_no_older_one(account: Client, receiver: Receiver) -> None:
    callback, path = new_callback(account, receiver)
    known = [callback["secret"]]
    for _ in range(2):
        rotated = account.post(f"{CALLBACKS}/{callback['id']}/rotate")
        assert rotated.status == 200, rotated
        known.append(rotated.json["secret"])
        # A change of the URL keeps the secrets.
        assert account.put(f"{CALLBACKS}/{callback['id']}", {"url": receiver.url + path}).status == 200

    assert account.post(f"{CALLBACKS}/{callback['id']}/test").json["state"] == "delivered"
    (effect,) = arrived(receiver, path)

    def is_signed_with(secret: str) -> bool:
        verdict = verify(Standard(), effect.headers, effect.body.encode(), secrets=[secret], now=datetime.now(UTC))
        return isinstance(verdict, Verified)

    assert [is_signed_with(secret) for secret in known] == [False, True, True]
    assert len(set(known)) == 3
    left = datetime.fromisoformat(rotated.json["previous_until"]) - datetime.now(UTC)
    assert 23 < left.total_seconds() / 3600 < 25
    assert known[2] not in account.get(f"{CALLBACKS}/{callback['id']}").body.decode()
    assert_error(account.post(f"{CALLBACKS}/callback-none/rotate"), 404)


def test_each_time_of_a_delivery_is_its_own() -> None:
    delivery = DeliveryView(
        id=DeliveryId("d"), workspace_id=MARA, callback_id=CallbackId("c"), event="execution.failed", attempts=2,
        noted_at=NOON, last_at=NOON + timedelta(minutes=1), next_at=NOON + timedelta(minutes=5), error="http.503",
    )  # fmt: skip

    shown = DeliveryAnswer.of(delivery)

    times = (shown.created_at, shown.last_attempt_at, shown.next_attempt_at)
    assert times == tuple(rfc3339(NOON + timedelta(minutes=n)) for n in (0, 1, 5))
    # One that is due at once has no time of its own.
    due = DeliveryAnswer.of(replace(delivery, last_at=None, next_at=datetime(1970, 1, 1, tzinfo=UTC)))
    assert (due.last_attempt_at, due.next_attempt_at) == (UNSET, rfc3339(NOON))


def test_saving_a_url_that_nothing_can_be_sent_to_is_a_warning(account: Client, receiver: Receiver) -> None:
    closed = {"url": "http://10.0.0.1/hook", "events": ["execution.failed"]}
    made = account.post(CALLBACKS, closed)
    path = f"{CALLBACKS}/{made.json['id']}"

    assert made.json["warning"].startswith("Messages cannot be sent to this URL: 10.0.0.1 is in 10.0.0.0/8")
    assert "FLOWRUNNER_EGRESS_ALLOW" in made.json["warning"]
    assert "warning" not in account.get(path).json
    assert "warning" not in account.put(path, {"name": "N"}).json
    assert "warning" not in account.put(path, {"url": receiver.url + "/ok"}).json
    assert "warning" in account.put(path, closed).json
    account.delete(path)


@pytest.mark.parametrize("gone", ["deleted", "moved"])
def test_a_callback_whose_flow_is_gone_says_that_it_reports_nothing_and_can_be_changed(
    account: Client, gone: str
) -> None:
    flow = account.new_flow(SMALLEST, name="is gone")
    made = account.post(CALLBACKS, {"url": "https://example.com/", "events": ["execution.failed"], "flow_id": flow})
    path = f"{CALLBACKS}/{made.json['id']}"
    assert "warning" not in account.get(path).json
    if gone == "deleted":
        assert account.delete(f"/api/v1/flows/{flow}").status == 200
    else:
        target = account.post("/api/v1/workspaces", {"name": "Another place"}).json["id"]
        assert account.post(f"/api/v1/flows/{flow}/move", {"workspace": target}).status == 200

    (listed,) = account.get(CALLBACKS).json["callbacks"]
    assert listed["warning"].startswith("It reports nothing, because its flow was deleted or is in another workspace")
    assert account.get(path).json["warning"] == listed["warning"]
    disabled = account.put(path, {"enabled": False})
    assert (disabled.status, disabled.json["enabled"], disabled.json["warning"]) == (200, False, listed["warning"])
    assert account.put(path, {"flow_id": flow}).status == 422
    another = account.put(path, {"flow_id": account.new_flow(SMALLEST, name="is there")})
    assert another.status == 200
    assert "warning" not in another.json
    account.delete(path)


def test_the_end_of_an_execution_is_told_as_a_signed_cloud_event(account: Client, receiver: Receiver) -> None:
    callback, path = new_callback(account, receiver, events=["execution.completed"])
    flow = account.new_flow(SMALLEST, name="Orders")
    execution = account.ended(account.run(flow))

    (effect,) = arrived(receiver, path)

    assert effect.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    verdict = verify(
        Standard(), effect.headers, effect.body.encode(), secrets=[callback["secret"]], now=datetime.now(UTC)
    )
    event = effect.json
    assert verdict == Verified(event["id"])
    assert event | {"id": "", "source": ""} == {
        "specversion": "1.0",
        "id": "",
        "source": "",
        "type": "dev.flowrunner.execution.completed.v1",
        "subject": execution["id"],
        "time": execution["completed_at"],
        "datacontenttype": "application/json",
        "data": {
            "execution": {
                "id": execution["id"],
                "flow_id": flow,
                "flow_name": "Orders",
                "status": "completed",
                "result": execution["result"],
                "error": None,
                "started_at": execution["started_at"],
                "completed_at": execution["completed_at"],
            }
        },
    }
    assert event["source"].endswith(f"/workspaces/{account.account_id}")


def test_each_event_is_told_once_and_only_where_it_is_wanted(account: Client, receiver: Receiver) -> None:
    _, everything = new_callback(account, receiver)
    _, failures = new_callback(account, receiver, events=["execution.failed"])
    account.run_to_end(SMALLEST)
    failed = account.run_to_end(FAILING)
    waiting = account.run(account.new_flow(ASKING))
    account.waiting_at(waiting, "ask")
    assert account.delete(f"/api/v1/executions/{waiting}").status == 200

    types = sorted(effect.json["type"].split(".", 2)[2] for effect in arrived(receiver, everything, 5))

    assert types == [
        "approval.requested.v1", "execution.cancelled.v1", "execution.completed.v1", "execution.failed.v1",
        "execution.waiting.v1",
    ]  # fmt: skip
    (only,) = arrived(receiver, failures)
    assert only.json["subject"] == failed["id"]
    assert only.json["data"]["execution"]["error"] == failed["error"]


def test_a_callback_may_be_about_one_flow_or_one_tag(account: Client, receiver: Receiver) -> None:
    tagged = account.new_flow("metadata: {name: T, tags: [a, urgent]}\n" + SMALLEST, tags=["a", "urgent"])
    other = account.new_flow(SMALLEST)
    _, by_flow = new_callback(account, receiver, flow_id=other)
    _, by_tag = new_callback(account, receiver, tag="urgent")
    of_tagged, of_other = account.run(tagged), account.run(other)

    assert [effect.json["subject"] for effect in arrived(receiver, by_flow)] == [of_other]
    assert [effect.json["subject"] for effect in arrived(receiver, by_tag)] == [of_tagged]


def test_executions_that_others_wait_for_are_told_on_request(account: Client, receiver: Receiver) -> None:
    child = account.new_flow(SMALLEST, name="Child")
    parent = account.new_flow(f"nodes:\n  call: {{type: flow, params: {{flow: {child}}}}}\n")
    _, roots = new_callback(account, receiver, events=["execution.completed"])
    _, all_of_them = new_callback(account, receiver, events=["execution.completed"], children=True)
    id = account.run(parent)

    told = {effect.json["data"]["execution"]["flow_id"] for effect in arrived(receiver, all_of_them, 2)}

    assert told == {child, parent}
    assert [effect.json["subject"] for effect in arrived(receiver, roots)] == [id]


def test_a_null_removes_what_a_callback_may_be_without_and_changes_nothing_else(
    account: Client, receiver: Receiver
) -> None:
    before, _ = new_callback(account, receiver, name="N", tag="billing", children=True)
    path = f"/api/v1/callbacks/{before['id']}"
    fields = ("name", "url", "events", "tag", "children", "enabled")

    untouched = account.put(path, {"name": None, "url": None, "events": None, "children": None, "enabled": None}).json
    changed = account.put(path, {"tag": None}).json

    assert [untouched[field] for field in fields] == [before[field] for field in fields]
    assert (before["tag"], changed["tag"], changed["name"], changed["children"]) == ("billing", None, "N", True)


def test_events_of_another_workspace_are_not_told(account: Client, other: Client, receiver: Receiver) -> None:
    _, path = new_callback(other, receiver)
    account.run_to_end(SMALLEST)
    mine = other.run_to_end(SMALLEST)

    assert {effect.json["subject"] for effect in arrived(receiver, path)} == {mine["id"]}


@pytest.mark.parametrize("format", ["slack", "discord", "teams"])
def test_people_read_a_sentence_that_notifies_nobody_and_is_no_markup(
    account: Client, receiver: Receiver, format: str
) -> None:
    _, path = new_callback(account, receiver, format=format, events=["execution.failed"])
    account.ended(account.run(account.new_flow(FAILING, name="Orders")))

    (effect,) = arrived(receiver, path)

    assert effect.headers["content-type"] == "application/json"
    text = "Flow 'Orders' failed: out of <paper> & @everyone"
    (workspace,) = account.get("/api/v1/workspaces").json["workspaces"]
    name = workspace["name"]
    match format:
        case "slack":
            assert effect.json["text"] == f"Flow 'Orders' failed: out of &lt;paper&gt; &amp; @everyone\n{name}"
        case "discord":
            assert effect.json == {"content": f"{text}\n{name}", "allowed_mentions": {"parse": []}}
        case _:
            first, second = effect.json["attachments"][0]["content"]["body"]
            assert first == {"type": "RichTextBlock", "inlines": [{"type": "TextRun", "text": text}]}
            assert second["inlines"][0]["text"] == name


@pytest.mark.parametrize("event", ["approval.requested", "execution.waiting"])
def test_people_read_the_question_of_an_approval(account: Client, receiver: Receiver, event: str) -> None:
    _, path = new_callback(account, receiver, format="slack", events=[event])
    id = account.run(account.new_flow(ASKING, name="Orders"))

    (effect,) = arrived(receiver, path)

    assert effect.json["text"].startswith("Flow 'Orders' waits for an approval: Ship it?\n")
    account.delete(f"/api/v1/executions/{id}")


def test_a_template_of_one_s_own_reads_the_event(account: Client, receiver: Receiver) -> None:
    template = {"summary": "${event.text}", "of": {"id": "${event.data.execution.id}", "n": [1, "$${x}"]}}
    _, path = new_callback(account, receiver, format="template", template=template, events=["execution.completed"])
    execution = account.ended(account.run(account.new_flow(SMALLEST, name="Orders")))

    (effect,) = arrived(receiver, path)

    assert effect.json == {
        "summary": "Flow 'Orders' completed.",
        "of": {"id": execution["id"], "n": [1, "${x}"]},
    }
    assert "webhook-signature" in effect.headers


def test_a_message_whose_template_has_no_value_fails_at_once_and_is_not_the_receiver_s_fault(
    account: Client, receiver: Receiver
) -> None:
    callback, _ = new_callback(account, receiver, format="template", template={"a": "x ${event.data.nothing}"})
    account.run_to_end(SMALLEST)

    (delivery,) = deliveries(account, callback["id"], "failed")

    assert (delivery["error"], delivery["attempts"]) == ("template", 1)
    assert account.get(f"{CALLBACKS}/{callback['id']}").json["failures"] == 0


def deliveries(client: Client, id: str, state: str, count: int = 1) -> list[Any]:
    """The deliveries of a callback, once so many have a state."""

    def found() -> list[Any]:
        listed: list[Any] = client.get(f"{CALLBACKS}/{id}/deliveries", limit=1000).json["deliveries"]
        return [delivery for delivery in listed if delivery["state"] == state]

    wait_for(lambda: len(found()) >= count)
    return found()


def test_a_failed_message_is_repeated_later_under_its_id(account: Client, receiver: Receiver) -> None:
    callback, path = new_callback(account, receiver, path="/status/503", events=["execution.completed"])
    # The receiver has no such path with more behind it.
    account.put(f"{CALLBACKS}/{callback['id']}", {"url": f"{receiver.url}/status/503?{path[12:]}"})
    execution = account.run_to_end(SMALLEST)
    query = path[12:]

    def effects() -> list[Effect]:
        return [effect for effect in receiver.effects("/status/503") if effect.query == query]

    wait_for(lambda: len(effects()) >= 2)

    first, second = effects()[:2]
    assert first.json["id"] == second.json["id"]
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == first.json["id"]
    (delivery,) = deliveries(account, callback["id"], "pending")
    assert delivery["id"] == first.json["id"]
    assert delivery["execution_id"] == execution["id"]
    assert (delivery["status_code"], delivery["error"]) == (503, "http.503")
    assert delivery["attempts"] >= 2
    assert account.get(f"{CALLBACKS}/{callback['id']}").json["failures"] >= 2

    account.put(f"{CALLBACKS}/{callback['id']}", {"url": f"{receiver.url}/ok/{query}"})
    (delivered,) = arrived(receiver, f"/ok/{query}")

    assert delivered.json["id"] == delivery["id"]
    deliveries(account, callback["id"], "delivered")
    assert account.get(f"{CALLBACKS}/{callback['id']}").json["failures"] == 0


def test_a_delivered_message_can_be_sent_again(account: Client, receiver: Receiver) -> None:
    callback, path = new_callback(account, receiver, events=["execution.completed"])
    account.run_to_end(SMALLEST)
    arrived(receiver, path)
    (delivery,) = deliveries(account, callback["id"], "delivered")

    again = account.post(f"{CALLBACKS}/{callback['id']}/deliveries/{delivery['id']}/redeliver")

    assert again.status == 202
    assert again.json["state"] == "pending"
    first, second = arrived(receiver, path, 2)
    assert first.json == second.json
    missing = account.post(f"{CALLBACKS}/{callback['id']}/deliveries/delivery-none/redeliver")
    assert_error(missing, 404, "Delivery not found")


def test_a_test_says_at_once_how_it_went(account: Client, receiver: Receiver) -> None:
    callback, path = new_callback(account, receiver)

    done = account.post(f"{CALLBACKS}/{callback['id']}/test")

    assert done.status == 200
    assert (done.json["state"], done.json["status_code"], done.json["event"]) == ("delivered", 200, "callback.test")
    (effect,) = receiver.effects(path)
    assert effect.json["type"] == "dev.flowrunner.callback.test.v1"
    assert effect.json["data"] == {"callback": {"id": callback["id"], "name": callback["name"]}}
    assert account.get(f"{CALLBACKS}/{callback['id']}/deliveries").json["deliveries"] == [done.json]

    refused, _ = new_callback(account, receiver)
    account.put(f"{CALLBACKS}/{refused['id']}", {"url": "http://127.0.0.1:1/"})
    failed = account.post(f"{CALLBACKS}/{refused['id']}/test").json
    assert (failed["state"], failed["error"]) == ("failed", "connection.refused")


def test_a_callback_that_is_deleted_during_its_test_is_not_found(account: Client, receiver: Receiver) -> None:
    url = f"{receiver.url}/slow?seconds=2&of=deleted"
    callback = account.post(CALLBACKS, {"url": url, "events": ALL}).json
    with ThreadPoolExecutor(1) as pool:
        testing = pool.submit(account.post, f"{CALLBACKS}/{callback['id']}/test")
        wait_for(lambda: any("of=deleted" in effect.query for effect in receiver.effects("/slow")))
        assert account.delete(f"{CALLBACKS}/{callback['id']}").status == 200
        reply = testing.result()

    assert_error(reply, 404, "Callback not found")


def test_s74_a_callback_reaches_no_closed_address_and_says_nothing_about_it(account: Client) -> None:
    for url in ("http://169.254.169.254/latest", "http://[fd00:ec2::254]/", "http://10.0.0.1/", "http://0x0a000001/"):
        callback = account.post(CALLBACKS, {"url": url, "events": ALL}).json

        failed = account.post(f"{CALLBACKS}/{callback['id']}/test").json

        assert (failed["state"], failed["error"]) == ("failed", "egress.forbidden"), url
        assert "status_code" not in failed


def test_a_disabled_callback_tells_nothing_until_it_is_enabled(account: Client, receiver: Receiver) -> None:
    callback, path = new_callback(account, receiver, events=["execution.completed"])
    off = account.put(f"{CALLBACKS}/{callback['id']}", {"enabled": False})
    assert (off.status, off.json["enabled"]) == (200, False)
    assert_recent(off.json["disabled_at"])
    account.run_to_end(SMALLEST)
    on = account.put(f"{CALLBACKS}/{callback['id']}", {"enabled": True})
    assert on.json["enabled"] is True
    told = account.run_to_end(SMALLEST)

    assert [effect.json["subject"] for effect in arrived(receiver, path)] == [told["id"]]


def test_a_receiver_that_is_gone_disables_its_callback_and_others_are_told(account: Client, receiver: Receiver) -> None:
    _, path = new_callback(account, receiver, events=["callback.disabled"])
    gone = account.post(CALLBACKS, {"url": f"{receiver.url}/status/410", "events": ALL, "name": "Old"}).json
    account.run_to_end(SMALLEST)

    (effect,) = arrived(receiver, path)

    assert effect.json["subject"] == gone["id"]
    assert effect.json["data"] == {"name": "Old", "reason": "the receiver answered 410 Gone"}
    read = account.get(f"{CALLBACKS}/{gone['id']}").json
    assert (read["enabled"], read["disabled_reason"]) == (False, "the receiver answered 410 Gone")
    assert read["failures"] > 0
    # It begins anew: its earlier failures would disable it at the next one.
    enabled = account.put(f"{CALLBACKS}/{gone['id']}", {"enabled": True}).json
    assert (enabled["enabled"], enabled["failures"]) == (True, 0)
    assert not enabled.keys() & {"disabled_reason", "failing_since"}


def test_a_change_keeps_what_it_does_not_name(account: Client, receiver: Receiver) -> None:
    flow = account.new_flow(SMALLEST)
    callback, _ = new_callback(account, receiver, name="A", flow_id=flow)

    changed = account.put(f"{CALLBACKS}/{callback['id']}", {"name": "B", "events": ["execution.failed"]}).json

    same = callback.keys() - {"secret", "name", "events", "updated_at"}
    assert {key: changed[key] for key in same} == {key: callback[key] for key in same}
    assert (changed["name"], changed["events"]) == ("B", ["execution.failed"])
    assert account.put(f"{CALLBACKS}/{callback['id']}", {"flow_id": None}).json["flow_id"] is None


def test_a_deleted_callback_is_gone_with_its_deliveries(account: Client, receiver: Receiver) -> None:
    callback, _ = new_callback(account, receiver)
    account.post(f"{CALLBACKS}/{callback['id']}/test")

    assert account.delete(f"{CALLBACKS}/{callback['id']}").json == {"message": "Callback deleted successfully"}

    for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/deliveries")):
        assert_error(account.request(method, f"{CALLBACKS}/{callback['id']}{rest}"), 404, "Callback not found")
    assert account.get(CALLBACKS).json["total"] == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"url": "ftp://example.com"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https://user:password@example.com/"}, "url"),
        ({"url": "http://[::1"}, "url"),
        ({"url": "https://example.com/a\r\nX-Other: b"}, "url"),
        ({"events": ["execution.ended"]}, "events[0]"),
        ({"events": []}, "events"),
        ({"format": "fax"}, "format"),
        ({"format": "email", "url": "mailto:a@example.com"}, "format"),
        ({"format": "template"}, "template"),
        ({"template": {"a": "b"}}, "template"),
        ({"format": "template", "template": "${input.x}"}, "template"),
        ({"format": "template", "template": "${1 + 1}"}, "template"),
        ({"format": "template", "template": "x" * 20_000}, "template"),
        ({"flow_id": "flow-none"}, "flow_id"),
        ({"secret": "whsec_x"}, "secret"),
    ],
)
def test_a_fault_is_told_by_its_field(account: Client, change: dict[str, Any], field: str) -> None:
    reply = account.post(CALLBACKS, {"url": "https://example.com/", "events": ["execution.failed"], **change})

    assert assert_error(reply, 422)["field"] == field
    assert account.get(CALLBACKS).json["total"] == 0


def test_a_workspace_has_a_limited_number_of_callbacks(account: Client) -> None:
    body = {"url": "https://example.com/", "events": ["execution.failed"]}
    for _ in range(100):
        assert account.post(CALLBACKS, body).status == 201

    details = assert_error(account.post(CALLBACKS, body), 409)

    assert details["most"] == 100


def test_acts_on_callbacks_are_audited_without_their_contents(
    account: Client, admin: Client, receiver: Receiver
) -> None:
    callback, _ = new_callback(account, receiver, name="Private")
    account.put(f"{CALLBACKS}/{callback['id']}", {"name": "Other", "url": "https://example.com/private"})
    account.delete(f"{CALLBACKS}/{callback['id']}")

    entries = admin.get("/api/v1/audit", object_id=callback["id"]).json["entries"]

    assert [entry["action"] for entry in entries] == ["callback.deleted", "callback.changed", "callback.created"]
    assert entries[1]["details"] == {"fields": ["name", "url"]}
    assert "private" not in json.dumps(entries).lower()


def test_pauses_and_failures_of_triggers_are_told(account: Client, receiver: Receiver) -> None:
    flow = (
        "metadata: {name: Hooked}\ninputs: {n: {type: integer}}\n"
        "triggers:\n  in: {type: webhook, verify: none, input: {n: '${trigger.body}'}}\n" + SMALLEST
    )
    flow_id = account.new_flow(flow, name="Hooked")
    (trigger,) = account.get("/api/v1/triggers").json["triggers"]
    _, path = new_callback(account, receiver, events=["trigger.paused", "trigger.failing"], flow_id=flow_id)

    for _ in range(4):
        assert account.post(trigger["url"], "x").status == 422
    (failing,) = arrived(receiver, path)
    assert account.post(f"/api/v1/triggers/{trigger['id']}/pause").status == 200
    _, paused = arrived(receiver, path, 2)

    assert failing.json["type"] == "dev.flowrunner.trigger.failing.v1"
    failed = failing.json["data"]
    assert "n" in failed.pop("reason")
    assert paused.json["type"] == "dev.flowrunner.trigger.paused.v1"
    assert failing.json["subject"] == paused.json["subject"] == trigger["id"]
    assert failed == paused.json["data"] == {
        "trigger": {"id": trigger["id"], "name": "in"}, "flow_id": flow_id, "flow_name": "Hooked",
    }  # fmt: skip
