"""The synchronous client against a real server."""

import inspect
import pickle
import traceback
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from client.scripted import answer, scripted
from flowrunner.client import (
    ApiError,
    Client,
    ClientError,
    ExecutionFailed,
    NotFoundError,
    PreconditionFailedError,
    StillRunning,
    UnauthorizedError,
    ValidationError,
)
from flowrunner.settings import load_settings
from support.client import Client as PlainClient
from support.server import Server

DOUBLE = "metadata: {name: double}\nnodes:\n  a: {type: return, params: {value: '${flow.input.n * 2}'}}\n"
BROKEN = "metadata: {name: broken}\nnodes:\n  a: {type: fail, params: {error: shop.closed, message: It is night}}\n"
WAITING = "metadata: {name: waiting}\nnodes:\n  a: {type: wait, params: {key: go}}\n"


@pytest.fixture
def account(server: Server) -> PlainClient:
    return server.admin().new_account()


@pytest.fixture
def client(account: PlainClient) -> Iterator[Client]:
    with Client(account.url, account.token) as made:
        for document in (DOUBLE, BROKEN, WAITING):
            made.request("POST", "/flows", content=document, content_type="application/yaml")
        yield made


def test_a_run_is_waited_for_by_the_name_of_its_flow(client: Client) -> None:
    assert client.run("double", {"n": 21}).wait().result == 42


def test_a_run_is_found_by_the_id_of_its_flow_and_by_its_labels(client: Client) -> None:
    run = client.run(client.flows.get_by_name("double").id, {"n": 1}, labels={"customer": "42"})

    assert run.wait().flow_name == "double"
    assert [found.id for found in client.executions.list(label=["customer:42"])] == [run.id]
    again = client.rerun(run.id, labels={"customer": "43"})
    assert [found.id for found in client.executions.list(label=["customer:43"])] == [again.id]


def test_errors_arrive_from_the_processes_of_a_pool(client: Client) -> None:
    broken = client.run("broken")
    failures: list[ClientError] = []
    for fails in (
        lambda: client.run("missing"),
        lambda: client.flows.create("nodes: {a: {type: nothing}}"),
        broken.wait,
        lambda: client.run("waiting").wait(0),
        lambda: Client("http://127.0.0.1:9", retry_seconds=0).get("/flows"),
    ):
        with pytest.raises(ClientError) as caught:
            fails()
        failures.append(caught.value)

    for sent in failures:
        # As `multiprocessing` and `concurrent.futures` send it.
        received = pickle.loads(pickle.dumps(sent))
        assert (type(received), str(received), vars(received)) == (type(sent), str(sent), vars(sent))


def test_a_key_of_the_caller_starts_one_execution(client: Client) -> None:
    first = client.run("double", {"n": 1}, idempotency_key="order-7")
    second = client.run("double", {"n": 1}, idempotency_key="order-7")

    assert (second.id, first.is_replay, second.is_replay) == (first.id, False, True)


def test_a_failed_execution_is_an_error_unless_the_caller_looks_itself(client: Client) -> None:
    run = client.run("broken")

    with pytest.raises(ExecutionFailed, match="It is night") as caught:
        run.wait()

    assert caught.value.execution.error_type == "shop.closed"
    assert run.wait(check=False).status == "failed"


def test_an_execution_that_goes_on_is_reported_when_the_time_is_up(client: Client) -> None:
    run = client.run("waiting")

    with pytest.raises(StillRunning) as caught:
        run.wait(timeout=0)

    assert isinstance(caught.value, TimeoutError)
    assert caught.value.execution.id == run.id
    run.cancel()
    with pytest.raises(ExecutionFailed, match="cancelled"):
        run.wait()


def test_events_come_once_each_up_to_the_last_one(client: Client) -> None:
    run = client.run("double", {"n": 1})
    events = list(run.events())

    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "execution_completed"
    assert list(run.events(after=events[-1]["seq"])) == []


def test_lists_are_read_page_by_page(client: Client) -> None:
    names = [flow["name"] for flow in client.entries("/flows", query={"limit": 2})]

    assert names == ["double", "broken", "waiting"]
    assert [flow["name"] for flow in client.entries("/flows", most=1)] == ["double"]


@pytest.mark.parametrize(
    ("path", "end", "parameter"), [("/flows", "next_cursor", "cursor"), ("/approvals", "next", "after")]
)
def test_a_list_goes_on_where_its_page_says(path: str, end: str, parameter: str) -> None:
    with scripted(answer(200, {"found": [1], end: "p"}), answer(200, {"found": [2], end: None})) as server:
        with Client(server.url) as client:
            entries: list[Any] = list(client.entries(path))
            assert entries == [1, 2]

    assert f"{parameter}=p" in server.heads()[1]


def test_answers_are_typed_objects(client: Client) -> None:
    run = client.run("double", {"n": 2})
    execution = run.wait()
    (step,) = client.executions.steps(run.id)

    assert abs(datetime.now(UTC) - execution.started_at).days == 0
    assert execution.flow_name == "double"
    assert execution.logs is not None
    assert execution.logs.error == 0
    assert (execution.parent_id, execution["flow_id"], execution.get("no such member")) == (None, run.flow_id, None)
    assert (step.node_id, step.result.value if step.result else None) == ("a", 4)
    assert client.executions.step(run.id, step.id).node_type == "return"
    assert client.executions.step_result(run.id, step.id) == 4
    assert [line.level for line in client.executions.logs(run.id, min_level="info")] == ["info"] * 2


def test_typed_lists_are_read_page_by_page_or_as_one_page(client: Client) -> None:
    flows = client.flows.list()

    assert [flow.name for flow in flows] == ["double", "broken", "waiting"]
    page = flows.page(limit=2, count=True)
    assert ([flow.name for flow in page.entries], page.total) == (["double", "broken"], 3)
    assert page.next is not None
    assert [flow.name for flow in flows.page(limit=2, **page.next).entries] == ["waiting"]
    assert [flow.name for flow in client.flows.list(name="broken")] == ["broken"]


def test_an_edit_of_an_old_state_is_rejected(client: Client) -> None:
    flow = client.flows.get_by_name("double")
    client.flows.update(flow.id, description="Doubles", if_match=flow.etag)

    with pytest.raises(PreconditionFailedError):
        client.flows.update(flow.id, description="Halves", if_match=flow.etag)


def test_approvals_and_signals_let_an_execution_go_on(client: Client) -> None:
    client.flows.create(
        "metadata: {name: ask}\nnodes:\n"
        "  ask: {type: approval, next: {approved: paid, rejected: paid, timeout: paid}}\n"
        "  paid: {type: wait, params: {key: paid/7}}\n"
    )
    run = client.run("ask")
    while not (waiting := [approval for approval in client.executions.approvals() if approval.execution_id == run.id]):
        pass
    client.executions.answer(run.id, waiting[0].node, approved=True)
    client.executions.signal(run.id, "paid/7", {"amount": 20})

    assert run.wait().result == {"amount": 20}


def test_a_repeat_of_an_execution_is_waited_for_too(client: Client) -> None:
    first = client.run("broken")
    first.wait(check=False)
    client.flows.put_by_name("broken", definition=DOUBLE.replace("double", "broken"))

    again = client.rerun(first.id, input={"n": 4}).wait()
    assert (again.result, again.rerun_of) == (8, first.id)


def test_many_flows_travel_as_an_archive_or_in_one_request(client: Client, tmp_path: Path) -> None:
    archive = client.flows.export()
    client.download("/flows/export", str(tmp_path / "flows.zip"))

    with zipfile.ZipFile(tmp_path / "flows.zip") as read:
        assert sorted(read.namelist()) == ["broken.yaml", "double.yaml", "waiting.yaml"]
    assert {flow.action for flow in client.flows.import_archive(archive).flows} == {"none"}
    saved = client.flows.save([{"name": "double", "definition": BROKEN.replace("broken", "double")}], dry_run=True)
    assert [(flow.name, flow.action, flow.plan.action if flow.plan else "") for flow in saved.flows] == [
        ("double", "update", "update")
    ]


def test_a_file_that_cannot_be_written_is_no_fault_of_the_server(client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.download("/flows/export", tmp_path / "missing" / "flows.zip")

    client.download("/flows/export", tmp_path / "flows.zip")
    assert zipfile.is_zipfile(tmp_path / "flows.zip")


def test_secrets_are_named_and_never_shown(client: Client) -> None:
    client.secrets.set("API_KEY", "a-key-of-some-length")

    assert [secret.key for secret in client.secrets.list()] == ["API_KEY"]
    assert client.secrets.delete("API_KEY").message
    token = client.tokens.create("deploy", ["read"])
    assert token.token.startswith("fr_pat_")
    assert token.token not in repr(token)


def test_null_is_a_value_of_the_store(client: Client) -> None:
    assert client.store.set("last order", None, ttl="1h").expires_at
    assert client.store.get("last order").value is None
    with pytest.raises(ValidationError, match="delete the value instead"):
        client.config.set("LIMIT", None)


def test_an_error_says_what_to_do(client: Client) -> None:
    with pytest.raises(ValidationError) as caught:
        client.request("POST", "/flows", json={"name": "x", "definition": "nodes: {}"})
    error = caught.value

    assert (error.status, error.code) == (422, "validation_error")
    assert error.hint
    assert error.request_id
    assert error.docs == "/docs/flow-language.md#the-document"
    assert error.errors[0]["line"] == 1


def test_a_traceback_shows_the_faults_of_a_flow_and_what_to_do(client: Client) -> None:
    faulty = "metadata: {name: x}\nnodes:\n  a: {type: wait, params: {signal: go}}\n  b: {type: nothing}\n"
    with pytest.raises(ValidationError) as caught:
        client.flows.create(faulty)

    shown = "".join(traceback.format_exception(caught.value))
    assert "3:28: nodes.a.params.signal: 'signal' is not a parameter of this node type\n    hint: did you" in shown
    assert "4:13: nodes.b.type: unknown node type 'nothing'" in shown
    assert str(caught.value) == "The flow definition has 3 faults"
    with pytest.raises(NotFoundError) as missing:
        client.run("no such flow")
    assert f"hint: {missing.value.hint}" in "".join(traceback.format_exception(missing.value))


def test_a_traceback_shows_a_bounded_part_of_what_a_server_says_as_plain_text() -> None:
    faults = [{"message": "\x1b[2J" + "x" * 10_000, "line": [1], "path": 7, "hint": {}}, "no fault"] * 50
    error = ApiError(422, "validation_error", "m", hint="\x9b!", details={"errors": faults})

    assert len(error.__notes__) == 12
    assert all(note.isprintable() and len(note) <= 500 for note in error.__notes__)
    assert error.__notes__[10:] == ["and 40 more, in `errors`", "hint:  !"]


def test_what_is_not_there_and_who_is_not_let_through_are_errors_of_their_own(server: Server, client: Client) -> None:
    with pytest.raises(NotFoundError):
        client.run("no such flow")
    with Client(server.url, "not-a-token") as stranger, pytest.raises(UnauthorizedError):
        stranger.get("/flows")


def test_a_login_is_used_from_then_on(account: PlainClient) -> None:
    with Client(account.url) as client:
        client.login(account.email, "five-blue-otters-swim")

        assert client.get("/accounts/me")["email"] == account.email


@pytest.mark.parametrize("path", ["//evil.example/x", "flows", "/flows\r\nX: y", "/flows#a"])
def test_a_path_that_could_mean_something_else_is_not_sent(client: Client, path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        client.get(path)


def test_no_message_and_no_repr_has_the_token(server: Server) -> None:
    with pytest.raises(ValueError, match="token") as caught:
        Client(server.url, "secret-token\r\nX: y")

    assert "secret-token" not in str(caught.value)
    assert "secret-token" not in repr(Client(server.url, "secret-token"))


def test_the_key_of_a_start_is_sent_with_it() -> None:
    begun = answer(201, {"execution_id": "exec-1", "flow_id": "flow-1", "status": "running"})
    with scripted(begun, begun) as server, Client(server.url) as client:
        client.run("flow-1", idempotency_key="one")
        client.rerun("exec-1", idempotency_key="two")

        assert [server.header(number, "Idempotency-Key") for number in range(2)] == ["one", "two"]


def test_a_client_waits_until_a_server_says_that_its_database_does_not_answer() -> None:
    # Requests that wait for PostgreSQL are answered two seconds after the limit of a statement: docs/postgresql.md.
    longest = load_settings({}, {}).database_timeout + 2.0

    assert inspect.signature(Client).parameters["timeout"].default > longest
