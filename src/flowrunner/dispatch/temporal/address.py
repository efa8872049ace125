"""The address of Temporal in the settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import parse_qs, unquote, urlsplit

DEFAULT_PORT: Final = 7233
DEFAULT_QUEUE: Final = "flowrunner"
_KNOWN: Final = frozenset({"queue", "tls", "ca", "cert", "key", "server_name"})


class InvalidAddress(ValueError):
    """An invalid address; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalAddress:
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
        """Parse an address. Raises: InvalidAddress."""
        parts = urlsplit(text)
        try:
            port = parts.port or DEFAULT_PORT
        except ValueError:
            raise InvalidAddress("must have a port between 1 and 65535") from None
        options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if parts.scheme != "temporal" or not parts.hostname or parts.username is not None or parts.fragment:
            raise InvalidAddress("must be an address such as temporal://127.0.0.1:7233/default?queue=flowrunner")
        if unknown := sorted(options.keys() - _KNOWN):
            raise InvalidAddress(f"has unknown options: {', '.join(unknown)}; there are {', '.join(sorted(_KNOWN))}")
        if ("cert" in options) != ("key" in options):
            raise InvalidAddress("needs both cert and key, or neither")
        if options.get("tls", "false") not in ("true", "false"):
            raise InvalidAddress("can say tls=true or tls=false")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        files = {name: Path(options[name]) if name in options else None for name in ("ca", "cert", "key")}
        return cls(
            target=f"{host}:{port}",
            namespace=unquote(parts.path.strip("/")) or "default",
            queue=options.get("queue") or DEFAULT_QUEUE,
            tls=options.get("tls") == "true" or any(files.values()),
            ca=files["ca"],
            cert=files["cert"],
            key=files["key"],
            server_name=options.get("server_name"),
        )
