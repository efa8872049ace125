"""TLS, client certificates and API keys, as Temporal Cloud asks for them."""

import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Final
from urllib.parse import urlencode

import pytest

from dispatch.cluster import cluster
from flowrunner.dispatch.temporal.address import TemporalAddress
from flowrunner.dispatch.temporal.connection import client_log, connect
from flowrunner.domain.errors import DispatchUnavailable, FlowRunnerError
from flowrunner.domain.status import Status
from support.databases import new_postgres_database
from support.postgres import PostgresServer
from support.temporal import Temporal
from support.tls import Issuer, TlsProxy, tls_proxy

NAME: Final = "temporal.test"
API_KEY: Final = "an-api-key-4f7d2c"


@dataclass(frozen=True)
class Cloud:
    """Temporal behind TLS, for clients with a certificate."""

    proxy: TlsProxy
    issuer: Issuer
    stranger: Issuer
    client: tuple[Path, Path]
    foreign: tuple[Path, Path]

    def url(self, **options: object) -> str:
        """Its address with all that is needed, but for what is given here; None leaves something out."""
        cert, key = self.client
        given = {"ca": self.issuer.file, "cert": cert, "key": key, "server_name": NAME} | options
        known = {name: str(value) for name, value in given.items() if value is not None}
        return f"temporal://127.0.0.1:{self.proxy.port}/default?{urlencode(known)}"

    def address(self, **options: object) -> TemporalAddress:
        return TemporalAddress.read(self.url(**options))


@pytest.fixture(scope="module")
def cloud(temporal: Temporal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    directory = tmp_path_factory.mktemp("tls")
    issuer, stranger = Issuer(directory, "issuer"), Issuer(directory, "stranger")
    with tls_proxy(("127.0.0.1", temporal.port), issuer.issue("server", NAME), clients_of=issuer) as proxy:
        yield Cloud(proxy, issuer, stranger, issuer.issue("client"), stranger.issue("foreign"))


def test_messages_of_the_client_are_in_the_log_and_of_one_kind_whatever_their_fields(
    caplog: pytest.LogCaptureFixture,
) -> None:
    forwarding = client_log()
    for fields in ({"run_id": "a"}, {"run_id": "b"}, {}):
        message = "100 % of calls failed" if fields else "no fields: 5 %"
        forwarding._on_logs([SimpleNamespace(level=logging.WARNING, message=message, fields=fields, time=0.0)])

    kinds = [f"{record.name}: {record.msg}" for record in caplog.records]
    assert kinds == [*["temporalio.core: 100 %% of calls failed %s"] * 2, "temporalio.core: no fields: 5 %"]
    assert caplog.messages == [
        "100 % of calls failed {'run_id': 'a'}",
        "100 % of calls failed {'run_id': 'b'}",
        "no fields: 5 %",
    ]


async def test_executions_go_over_tls_with_a_client_certificate(cloud: Cloud, postgres: PostgresServer) -> None:
    async with (
        cluster(new_postgres_database(postgres), cloud.url(queue="tls")) as machines,
        machines.server() as front,
        machines.worker(),
    ):
        await front.save("nodes: {a: {type: transform, params: {value: 1}}}")

        assert await front.until_ended(await front.start()) == [Status.COMPLETED]
    assert "/temporal.api.workflowservice.v1.WorkflowService/StartWorkflowExecution" in {
        request[":path"] for request in cloud.proxy.requests
    }


async def test_an_issuer_that_is_not_trusted_is_reported_with_what_to_do(cloud: Cloud) -> None:
    for ca in (cloud.stranger.file, None):
        with pytest.raises(FlowRunnerError, match=r"issuer that is not trusted: name the file .* as ca") as told:
            await connect(cloud.address(ca=ca), api_key=None)
        assert not isinstance(told.value, DispatchUnavailable), "no waiting helps"


async def test_a_name_that_the_certificate_does_not_have_is_reported_with_what_to_do(cloud: Cloud) -> None:
    with pytest.raises(FlowRunnerError, match="for another name: give that name as server_name"):
        await connect(cloud.address(server_name=None), api_key=None)


async def test_a_missing_or_foreign_client_certificate_is_reported_with_what_to_do(cloud: Cloud) -> None:
    foreign_cert, foreign_key = cloud.foreign
    for cert, key in ((None, None), (foreign_cert, foreign_key)):
        with pytest.raises(
            FlowRunnerError, match=r"client certificate, or does not accept the one it gets.*cert and key"
        ):
            await connect(cloud.address(cert=cert, key=key), api_key=None)


async def test_tls_is_missed_where_there_is_some_and_where_there_is_none(cloud: Cloud, temporal: Temporal) -> None:
    with pytest.raises(DispatchUnavailable, match="speaks TLS only: tls=true"):
        await connect(TemporalAddress.read(f"temporal://127.0.0.1:{cloud.proxy.port}"), api_key=None)
    with pytest.raises(FlowRunnerError, match="does not speak TLS: leave out"):
        await connect(TemporalAddress.read(f"temporal://{temporal.address}?tls=true"), api_key=None)


async def test_files_with_the_wrong_content_are_reported_with_their_option(cloud: Cloud, tmp_path: Path) -> None:
    nothing, missing = tmp_path / "nothing.pem", tmp_path / "missing.pem"
    nothing.write_text("nothing")
    for options, told in (
        ({"ca": missing}, f"{missing} that ca in the dispatch address names cannot be read"),
        ({"ca": nothing}, f"{nothing} that ca in the dispatch address names is not in PEM"),
        ({"key": nothing}, f"{nothing} that key in the dispatch address names is not in PEM"),
        ({"key": cloud.foreign[1]}, "cert and key do not belong together"),
    ):
        with pytest.raises(FlowRunnerError, match=told):
            await connect(cloud.address(**options), api_key=None)


async def test_an_api_key_is_sent_with_every_request_and_only_there(
    temporal: Temporal, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    issuer = Issuer(tmp_path, "issuer")
    with tls_proxy(("127.0.0.1", temporal.port), issuer.issue("server", NAME), clients_of=None) as proxy:
        target = f"temporal://127.0.0.1:{proxy.port}/default?server_name={NAME}"
        client = await connect(TemporalAddress.read(f"{target}&ca={issuer.file}"), api_key=API_KEY)
        assert [workflow async for workflow in client.list_workflows("WorkflowId = 'none'")] == []

        assert len(proxy.requests) >= 3
        assert {request["authorization"] for request in proxy.requests} == {f"Bearer {API_KEY}"}
        # It switches TLS on by itself, and is not in what is told when that fails.
        with pytest.raises(FlowRunnerError, match="issuer that is not trusted") as told:
            await connect(TemporalAddress.read(target), api_key=API_KEY)
    assert API_KEY not in str(told.value) + repr(told.value.__context__) + caplog.text


async def test_a_temporal_that_says_nothing_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = TemporalAddress.read(f"temporal://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(DispatchUnavailable, match="does not answer in time"):
            await connect(address, api_key=None)


async def test_a_namespace_that_is_not_there_yet_is_waited_for(temporal: Temporal) -> None:
    with pytest.raises(DispatchUnavailable, match="has no namespace later; if this persists, create it"):
        await connect(TemporalAddress.read(f"temporal://{temporal.address}/later"), api_key=None)


async def test_an_unknown_host_is_reported_as_such() -> None:
    with pytest.raises(DispatchUnavailable, match="its name is not known"):
        await connect(TemporalAddress.read("temporal://no-such-host.invalid"), api_key=None)
