"""Where Temporal is, and how to speak to it."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

from temporalio.client import Client
from temporalio.service import TLSConfig

from flowrunner.domain.errors import FlowRunnerError, Unavailable

DEFAULT_PORT: Final = 7233
DEFAULT_QUEUE: Final = "flowrunner"
_CONNECT_SECONDS: Final = 10.0
_KNOWN: Final = frozenset({"queue", "tls", "ca", "cert", "key", "server_name"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalUrl:
    """`temporal://host:port/namespace?queue=…&tls=true&ca=FILE&cert=FILE&key=FILE&server_name=…`."""

    target: str
    namespace: str
    queue: str
    tls: bool
    ca: Path | None
    cert: Path | None
    key: Path | None
    server_name: str | None

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises: ValueError that says what is wrong."""
        parts = urlsplit(text)
        options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if parts.scheme != "temporal" or not parts.hostname or parts.username is not None or parts.fragment:
            raise ValueError("must be an address such as temporal://127.0.0.1:7233/default?queue=flowrunner")
        if unknown := sorted(options.keys() - _KNOWN):
            raise ValueError(f"has unknown options: {', '.join(unknown)}; there are {', '.join(sorted(_KNOWN))}")
        if ("cert" in options) != ("key" in options):
            raise ValueError("needs both cert and key, or neither")
        if options.get("tls", "false") not in ("true", "false"):
            raise ValueError("can say tls=true or tls=false")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        files = {name: Path(options[name]) if name in options else None for name in ("ca", "cert", "key")}
        return cls(
            target=f"{host}:{parts.port or DEFAULT_PORT}",
            namespace=unquote(parts.path.strip("/")) or "default",
            queue=options.get("queue") or DEFAULT_QUEUE,
            tls=options.get("tls") == "true" or any(files.values()),
            ca=files["ca"],
            cert=files["cert"],
            key=files["key"],
            server_name=options.get("server_name"),
        )


async def connect(url: TemporalUrl, *, api_key: str | None) -> Client:
    """A connection that comes back by itself.

    Raises:
        FlowRunnerError: A file of keys cannot be read.
        Unavailable: If Temporal does not answer.
    """
    try:
        return await Client.connect(
            url.target,
            namespace=url.namespace,
            api_key=api_key,
            tls=_tls(url, api_key),
            connect_timeout=timedelta(seconds=_CONNECT_SECONDS),
        )
    except RuntimeError as error:
        raise Unavailable(f"Temporal at {url.target} cannot be reached: {error}") from None


def _tls(url: TemporalUrl, api_key: str | None) -> TLSConfig | bool:
    if not (url.tls or api_key):
        return False
    try:
        return TLSConfig(
            server_root_ca_cert=url.ca.read_bytes() if url.ca else None,
            client_cert=url.cert.read_bytes() if url.cert else None,
            client_private_key=url.key.read_bytes() if url.key else None,
            domain=url.server_name,
        )
    except OSError as error:
        raise FlowRunnerError(f"The dispatch address names a file that cannot be read: {error}") from None
