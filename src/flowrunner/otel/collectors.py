"""Sessions for requests to collectors, whose answers are bounded."""

import contextlib
import io
import os
import time
from collections.abc import Mapping
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

# Of an answer; longer ones end the connection.
MOST_BYTES: Final = 64 * 1024
_BYTES_AT_ONCE: Final = 4096
_READ_SECONDS: Final = 2.0
_PROVIDER: Final = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_{}CREDENTIAL_PROVIDER"


def session_for(signal: str, environ: Mapping[str, str] = os.environ) -> requests.Session | None:
    """Return the session for an exporter; None if the variables name a provider of credentials, which has its own.

    Args:
        signal: `TRACES`, `METRICS` or `LOGS`.
    """
    if any(environ.get(_PROVIDER.format(name)) for name in ("", f"{signal}_")):
        return None
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _BoundedAdapter())
    return session


class _BoundedAdapter(HTTPAdapter):
    """Returns the status and the headers of answers, which are all that exporters look at, and no content.

    Otherwise an answer without an end, or one that is long when it is decompressed, would fill the memory.
    """

    def send(
        self, request: requests.PreparedRequest, stream: bool = False, *options: Any, **named: Any
    ) -> requests.Response:
        answer = super().send(request, True, *options, **named)
        try:
            # A connection whose answer was read is used again.
            with contextlib.suppress(HTTPError, OSError):
                _read(answer.raw)
        finally:
            answer.close()
        bare = requests.Response()
        bare.status_code, bare.reason, bare.headers = answer.status_code, answer.reason, answer.headers
        bare.url, bare.request, bare.raw = answer.url, request, io.BytesIO()
        return bare


def _read(raw: Any) -> None:
    left, until = MOST_BYTES, time.monotonic() + _READ_SECONDS
    while left > 0 and time.monotonic() < until:
        data = raw.read1(_BYTES_AT_ONCE, decode_content=False)
        if not data:
            return
        left -= len(data)
    raw.close()
