"""The plain page that a browser shows while the server is not ready. It reloads by itself."""

import base64
import hashlib
from html import escape
from typing import Final

from starlette.responses import HTMLResponse
from starlette.types import Scope

from flowrunner.api.http.edge import COMMON_HEADERS, NO_STORE, OWN_HEADERS

AGAIN_SECONDS: Final = 5
# Of its own: without a program, no file of the interface is served.
_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{margin:0;min-height:100vh;display:grid;place-items:center;font:15px/1.5 system-ui,sans-serif}"
    "main{max-width:26rem;padding:1.5rem}h1{font-size:1.2rem}"
)
_HEADERS: Final = (
    *COMMON_HEADERS,
    NO_STORE,
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'sha256-%s'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        % base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()),
    ),
)


def unready_page(scope: Scope, message: str) -> HTMLResponse:
    """Return the page with a message, and give the request the headers of that page."""
    scope[OWN_HEADERS] = _HEADERS
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="refresh" content="{AGAIN_SECONDS}"><title>Not ready · FlowRunner</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>FlowRunner is not ready yet</h1><p>{escape(message)}.</p>"
        "<p>This page reloads by itself. The log of the server has the details.</p></main></body></html>",
        503,
        {"Retry-After": str(AGAIN_SECONDS), "Vary": "Accept"},
    )
