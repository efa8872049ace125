"""The connection to Temporal."""

import asyncio
import logging
import re
from functools import cache
from pathlib import Path
from typing import Final

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.runtime import LogForwardingConfig, LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import RPCError, RPCStatusCode, TLSConfig

from flowrunner.dispatch.temporal.address import TemporalAddress
from flowrunner.domain.errors import DispatchUnavailable, FlowRunnerError

_CONNECT_SECONDS: Final = 5.0
_CLOSED: Final = "it ended the connection; if this persists, "
# Parts of the client's error texts for failures that no retry solves, with what to do. Its errors have no codes.
_PERMANENT: Final = {
    "InvalidCertificate(UnknownIssuer": (
        "its certificate is from an issuer that is not trusted: name the file with the issuer's certificate as ca"
    ),
    "InvalidCertificate(NotValidForName": "its certificate is for another name: give that name as server_name",
    "InvalidCertificate(Expired": "its certificate has expired",
    "InvalidCertificate(": "its certificate is not valid",
    "InvalidMessage(InvalidContentType": "it does not speak TLS: leave out tls, ca, cert, key and temporal_api_key",
    "AlertReceived(": (
        "it asks for a client certificate, or does not accept the one it gets: cert and key, of an issuer it trusts"
    ),
    "InconsistentKeys": "cert and key do not belong together",
    "PrivateKeyParseError": "the file that key names holds no private key",
    "CertificateParseError": "the file that ca or cert names holds no certificate",
    "code: Unauthenticated": "it asks for an API key, or does not accept this one: set temporal_api_key",
    "code: PermissionDenied": "it does not let this API key or certificate use the namespace",
}
_UNKNOWN: Final = re.compile(r"dns error")
_REFUSED: Final = re.compile(r"Connection refused|tcp connect error")


async def connect(address: TemporalAddress, *, api_key: str | None) -> Client:
    """Return a connection, which reconnects by itself.

    Raises:
        FlowRunnerError: If no retry helps: a key file cannot be read, or one side does not trust the other.
        DispatchUnavailable: If Temporal does not answer, or the namespace does not exist yet.
    """
    tls = _tls(address, api_key)
    try:
        # The client's own timeout does not apply once the connection is accepted.
        async with asyncio.timeout(_CONNECT_SECONDS):
            client = await Client.connect(
                address.target, namespace=address.namespace, api_key=api_key, tls=tls, runtime=_runtime()
            )
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=address.namespace))
    except TimeoutError:
        raise _unavailable(address, "it does not answer in time") from None
    except RPCError as error:
        raise _refused(address, error) from None
    except RuntimeError as error:
        raise _failed(address, str(error), uses_tls=tls is not False) from None
    return client


@cache
def _runtime() -> Runtime:
    """Return the client's runtime, of which a process has one."""
    # By default, the client writes its messages past the log, without a limit: several for each call in an outage.
    level = TelemetryFilter(core_level="WARN", other_level="ERROR")
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=level, forwarding=client_log())))


def client_log() -> LogForwardingConfig:
    """Return the configuration that forwards the client's messages to the log, as those of a library."""
    logger = logging.getLogger("temporalio.core")
    logger.addFilter(_separate_fields)
    return LogForwardingConfig(
        logger, append_target_to_name=False, prepend_target_on_message=False, append_log_fields_to_message=False
    )


def _separate_fields(record: logging.LogRecord) -> bool:
    """Make a message's fields, such as ids, its arguments: messages that differ only in these are of one kind."""
    fields = getattr(record, "temporal_log").fields  # noqa: B009 # the client adds it to its records
    if fields:
        record.msg, record.args = f"{record.msg.replace('%', '%%')} %s", (fields,)
    return True


def _refused(address: TemporalAddress, error: RPCError) -> FlowRunnerError:
    if error.status == RPCStatusCode.NOT_FOUND:
        # A new cluster answers before it has created its first namespace.
        return DispatchUnavailable(
            f"Temporal at {address.target} has no namespace {address.namespace}; if this persists, create it, "
            "or name another in the address"
        )
    if error.status in (RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED):
        return _permanent(address, "it does not let this API key or certificate use the namespace")
    return _unavailable(address, error.status.name.lower())


def _failed(address: TemporalAddress, text: str, *, uses_tls: bool) -> FlowRunnerError:
    for part, help in _PERMANENT.items():
        if part in text:
            return _permanent(address, help)
    if _UNKNOWN.search(text):
        return _unavailable(address, "its name is not known")
    if _REFUSED.search(text):
        return _unavailable(address, "nothing listens there")
    if uses_tls:
        return _unavailable(
            address, _CLOSED + "it asks for a client certificate, or does not accept the one it gets: cert and key"
        )
    return _unavailable(address, _CLOSED + "it speaks TLS only: tls=true")


def _unavailable(address: TemporalAddress, why: str) -> DispatchUnavailable:
    return DispatchUnavailable(f"Temporal at {address.target} cannot be reached: {why}")


def _permanent(address: TemporalAddress, why: str) -> FlowRunnerError:
    return FlowRunnerError(f"Cannot connect to Temporal at {address.target} by the setting dispatch: {why}")


def _tls(address: TemporalAddress, api_key: str | None) -> TLSConfig | bool:
    if not (address.tls or api_key):
        return False
    return TLSConfig(
        server_root_ca_cert=_read("ca", address.ca),
        client_cert=_read("cert", address.cert),
        client_private_key=_read("key", address.key),
        domain=address.server_name,
    )


def _read(option: str, file: Path | None) -> bytes | None:
    if file is None:
        return None
    try:
        content = file.read_bytes()
    except OSError as error:
        raise FlowRunnerError(
            f"The file {file} that {option} in the dispatch address names cannot be read: {error.strerror}"
        ) from None
    # With a file without a certificate, the client would trust no server, and blame the server.
    if b"-----BEGIN " not in content:
        raise FlowRunnerError(f"The file {file} that {option} in the dispatch address names is not in PEM")
    return content
