"""The answer to `/metrics`: who gets it, in which formats, and what it reveals."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from flowrunner.settings import InvalidSettings, load_settings
from support.client import Client
from support.server import Server
from support.waiting import wait_for

TOKEN: Final = "a-token-of-prometheus"
NAME: Final = 'Secret plan \\ " of Paris'
FLOW: Final = "nodes: {a: {type: transform, params: {value: 1}}}"
FAILING: Final = "nodes: {a: {type: fail, params: {message: no, error: of.my.own}}}"


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose metrics need a token."""
    server = Server(tmp_path_factory.mktemp("metrics"), {"METRICS_TOKEN": TOKEN, "METRICS_FLOWS": "2"})
    try:
        yield server.start()
    finally:
        server.stop()


def metrics(server: Server, token: str | None = TOKEN, **headers: str) -> Any:
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return server.client().request("GET", "/metrics", headers=headers)


def flows(text: str) -> dict[tuple[str, str], float]:
    """The ended executions by flow and status."""
    return {
        (sample.labels["flow"], sample.labels["status"]): sample.value
        for family in read_text(text)
        for sample in family.samples
        if sample.name == "flowrunner_flow_executions_ended_total"
    }


@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "é"])
def test_without_the_token_nobody_gets_the_metrics(closed: Server, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    reply = closed.client().request("GET", "/metrics", headers=headers)

    assert reply.status == 401
    assert b"flowrunner_" not in reply.body


@pytest.mark.parametrize("token", ["", "short", "with a blank in the middle", "ünprintable-as-a-header"])
def test_a_token_that_is_no_secret_is_an_error_in_the_settings(token: str) -> None:
    with pytest.raises(InvalidSettings, match="FLOWRUNNER_METRICS_TOKEN"):
        load_settings({}, {"FLOWRUNNER_METRICS_TOKEN": token})


def test_a_login_is_not_the_token(closed: Server) -> None:
    reply = closed.admin().get("/metrics")

    assert reply.status == 401
    # Not that of other requests: no login and no API token opens the metrics.
    assert "metrics_token" in reply.json["error"]["hint"]
    assert reply.json["error"]["docs"] == "/docs/telemetry.md#who-may-read-them"


def test_whoever_has_the_token_sees_the_flows_that_run_most_by_name(closed: Server) -> None:
    account = closed.admin().new_account()
    account.ended(account.run(account.new_flow(FLOW, name=NAME)))
    for _ in range(3):
        account.run_to_end(FAILING)

    def found() -> dict[tuple[str, str], float]:
        return flows(metrics(closed).body.decode())

    wait_for(lambda: sum(found().values()) == 4)
    named = {name for name, _ in found()}
    assert NAME in named
    assert len(named - {"other"}) == 2
    assert found()["other", "failed"] == 2


def test_without_a_token_in_the_settings_no_flow_is_named(server: Server, account: Client) -> None:
    flow = account.new_flow(FLOW, name=NAME)
    account.ended(account.run(flow))

    text = metrics(server, None).body.decode()

    assert {name for name, _ in flows(text)} == {"other"}
    assert "Secret plan" not in text
    assert flow not in text
    assert account.account_id not in text


def test_both_formats_are_what_their_parsers_read(closed: Server) -> None:
    plain = metrics(closed)
    openmetrics = metrics(closed, Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")

    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert openmetrics.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    of_plain = {family.name for family in read_text(plain.body.decode())}
    of_openmetrics = {family.name for family in read_openmetrics(openmetrics.body.decode())}
    assert "flowrunner_execution_seconds" in of_plain & of_openmetrics


@pytest.mark.parametrize("accept", ["application/openmetrics-text;version=x", "x" * 1000, ";;;,", "*/*"])
def test_any_accept_header_gets_one_of_the_two_formats(closed: Server, accept: str) -> None:
    reply = metrics(closed, Accept=accept)

    assert reply.status == 200
    assert b"flowrunner_build_info" in reply.body


def test_requests_are_counted_by_the_template_of_their_route(closed: Server) -> None:
    account = closed.admin().new_account()
    for n in range(20):
        account.get(f"/api/v1/flows/flow-{n}")
        account.get(f"/no/such/place/{n}")
    for _ in range(3):
        # Refused before it becomes a request.
        account.request("BREW", "/api/v1/flows")

    def counted() -> dict[tuple[str, str, str], float]:
        return {
            (sample.labels["route"], sample.labels["method"], sample.labels["status"]): sample.value
            for family in read_text(metrics(closed).body.decode())
            for sample in family.samples
            if sample.name == "flowrunner_http_requests_total"
        }

    wait_for(lambda: counted().get(("/api/v1/flows/{id}", "GET", "404")) == 20)
    assert counted()["other", "GET", "404"] == 20
    assert counted()["other", "other", "400"] == 3
    assert not any("flow-" in route or "place" in route for route, _, _ in counted())
    assert {method for _, method, _ in counted()} <= {"GET", "POST", "PUT", "DELETE", "other"}
