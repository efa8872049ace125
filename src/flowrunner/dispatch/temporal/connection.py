"""The connection to Temporal."""

from datetime import timedelta
from typing import Final

from temporalio.client import Client
from temporalio.service import TLSConfig

from flowrunner.dispatch.temporal.address import TemporalAddress
from flowrunner.domain.errors import FlowRunnerError, Unavailable

_CONNECT_SECONDS: Final = 10.0


async def connect(address: TemporalAddress, *, api_key: str | None) -> Client:
    """A connection that comes back by itself.

    Raises:
        FlowRunnerError: A file of keys cannot be read.
        Unavailable: If Temporal does not answer.
    """
    try:
        return await Client.connect(
            address.target,
            namespace=address.namespace,
            api_key=api_key,
            tls=_tls(address, api_key),
            connect_timeout=timedelta(seconds=_CONNECT_SECONDS),
        )
    except RuntimeError as error:
        raise Unavailable(f"Temporal at {address.target} cannot be reached: {error}") from None


def _tls(address: TemporalAddress, api_key: str | None) -> TLSConfig | bool:
    if not (address.tls or api_key):
        return False
    try:
        return TLSConfig(
            server_root_ca_cert=address.ca.read_bytes() if address.ca else None,
            client_cert=address.cert.read_bytes() if address.cert else None,
            client_private_key=address.key.read_bytes() if address.key else None,
            domain=address.server_name,
        )
    except OSError as error:
        raise FlowRunnerError(f"The dispatch address names a file that cannot be read: {error}") from None
