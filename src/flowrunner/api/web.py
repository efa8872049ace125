"""The web interface: the files that `ui/` is built into, their shell at the addresses of its screens, and the docs.

The shell holds nothing of anybody: what a screen shows, it asks the API for. So it needs no session.
"""

import asyncio
import re
from typing import Final, TypeAlias

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from flowrunner.api.http.assets import read_assets
from flowrunner.api.http.conditions import is_known, not_modified
from flowrunner.api.http.edge import API_PAGE_HEADERS, LASTING_HEADERS, OWN_HEADERS, PAGE_HEADERS
from flowrunner.api.http.errors import etag
from flowrunner.api.http.negotiation import takes, wants_page
from flowrunner.api.http.routing import ProbeRoute
from flowrunner.api.http.state import state_of
from flowrunner.domain.errors import NotFound

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
_SHELL: Final = "index.html"
_API_PAGE: Final = "docs.html"
# Below these, an unknown address is answered with JSON whatever the request accepts.
_FOR_PROGRAMS: Final = re.compile(r"/(api|assets|hooks|mcp|sign-on|ws|\.well-known)(/|$)")

# Files in memory, which cost less than the counting of requests would.
router = APIRouter(route_class=ProbeRoute, include_in_schema=False)


async def _answer(request: Request, name: str, headers: Headers = PAGE_HEADERS) -> Response:
    """Raises: NotFound."""
    assets = await state_of(request).web.get(lambda: asyncio.to_thread(read_assets))
    asset = assets.get(name)
    if asset is None:
        raise NotFound("file")
    request.scope[OWN_HEADERS] = headers
    if is_known(request, asset.state):
        return not_modified(asset.state)
    own = {"ETag": etag(asset.state), "Vary": "Accept-Encoding"}
    if asset.packed is not None and takes(request.headers.get("accept-encoding", ""), "gzip"):
        return Response(asset.packed, media_type=asset.media_type, headers={**own, "Content-Encoding": "gzip"})
    return Response(asset.content, media_type=asset.media_type, headers=own)


@router.get("/")
@router.get("/login")
@router.get("/setup")
@router.get("/invitation")
@router.get("/command-login")
@router.get("/new-password")
@router.get("/confirm-email")
async def shell(request: Request) -> Response:
    """Return the page in which each screen is shown."""
    # The patterns of paths also match before a last line break.
    if request.scope["path"].endswith("\n"):
        raise NotFound("page")
    return await _answer(request, _SHELL)


@router.get("/w/{screen:path}")
async def screen(request: Request, screen: str) -> Response:
    """Return the same page, which finds its screen by the address."""
    return await _answer(request, _SHELL)


def or_shell(not_found: ASGIApp) -> ASGIApp:
    """Return what serves unknown addresses: the page to people, as at `/approvals`, ``not_found`` to programs."""

    async def unknown(scope: Scope, receive: Receive, send: Send) -> None:
        if not wants_page(scope) or _FOR_PROGRAMS.match(scope["path"]):
            await not_found(scope, receive, send)
            return
        response = await _answer(Request(scope, receive, send), _SHELL)
        response.headers["Vary"] = "Accept-Encoding, Accept"
        await response(scope, receive, send)

    return unknown


@router.get("/docs")
async def api_page(request: Request) -> Response:
    """Return the page that shows the API by its OpenAPI description."""
    if request.scope["path"].endswith("\n"):
        raise NotFound("page")
    return await _answer(request, _API_PAGE, API_PAGE_HEADERS)


@router.get("/docs/{page}")
async def documentation(request: Request, page: str) -> Response:
    """Return a page of the documentation as text, to which `docs` in errors leads."""
    return await _answer(request, f"docs/{page}")


@router.get("/docs.js")
@router.get("/favicon.svg")
@router.get("/flowrunner-api.d.ts")
@router.get("/start.js")
async def file(request: Request) -> Response:
    """Return a file of the interface that has its place at the top."""
    return await _answer(request, request.url.path[1:])


@router.get("/assets/{name}")
async def asset(request: Request, name: str) -> Response:
    """Return a file of the interface."""
    return await _answer(request, f"assets/{name}")


@router.get("/assets/{build}/{name}")
async def asset_of_build(request: Request, build: str, name: str) -> Response:
    """Return a file of the interface, if it is of this build."""
    return await _answer(request, f"assets/{build}/{name}", LASTING_HEADERS)
