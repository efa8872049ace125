"""The synchronous client against a real server."""

from collections.abc import Iterator

import pytest

from flowrunner.client import (
    Client,
    ExecutionFailed,
    NotFoundError,
    StillRunning,
    UnauthorizedError,
    ValidationError,
)
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
    assert client.run("double", {"n": 21}).wait()["result"] == 42


def test_a_key_of_the_caller_starts_one_execution(client: Client) -> None:
    first = client.run("double", {"n": 1}, idempotency_key="order-7")
    second = client.run("double", {"n": 1}, idempotency_key="order-7")

    assert (second.id, first.is_replay, second.is_replay) == (first.id, False, True)


def test_a_failed_execution_is_an_error_unless_the_caller_looks_itself(client: Client) -> None:
    run = client.run("broken")

    with pytest.raises(ExecutionFailed, match="It is night") as caught:
        run.wait()

    assert caught.value.execution["error_type"] == "shop.closed"
    assert run.wait(check=False)["status"] == "failed"


def test_an_execution_that_goes_on_is_reported_when_the_time_is_up(client: Client) -> None:
    run = client.run("waiting")

    with pytest.raises(StillRunning) as caught:
        run.wait(timeout=0)

    assert isinstance(caught.value, TimeoutError)
    assert caught.value.execution["id"] == run.id
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


def test_an_error_says_what_to_do(client: Client) -> None:
    with pytest.raises(ValidationError) as caught:
        client.request("POST", "/flows", json={"name": "x", "definition": "nodes: {}"})
    error = caught.value

    assert (error.status, error.code) == (422, "validation_error")
    assert error.hint
    assert error.request_id
    assert error.docs == "docs/flow-language.md#the-document"
    assert error.errors[0]["line"] == 1


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
