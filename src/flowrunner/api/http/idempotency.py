"""The header `Idempotency-Key` of requests that clients may repeat."""

import contextlib
import hashlib
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final, TypeAlias

from fastapi import Request
from starlette.responses import Response

from flowrunner.api.http.answers import encoded
from flowrunner.api.http.headers import header_of
from flowrunner.api.http.policies import Repeats
from flowrunner.api.http.requests import is_dry_run
from flowrunner.api.http.state import services_of
from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Unavailable, invalid
from flowrunner.domain.request_keys import KeptAnswer, RequestKey, RequestKeyTaken, is_key, stored_form
from flowrunner.services.request_keys import digest_of_request
from flowrunner.threads import on_thread_if

IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "A key starts at most one execution.",
    "schema": {"type": "string", "maxLength": 255},
}
REPEATABLE: Final = IDEMPOTENCY_KEY | {
    "description": "A repeated request with the same key has no further effect and gets the first answer."
}
_KEPT_HEADERS: Final = ("ETag", "Location")

Handler: TypeAlias = Callable[[Request], Coroutine[Any, Any, Response]]


def idempotency_key_of(request: Request) -> str | None:
    """Return the key, or None without the header. Raises: InvalidInput."""
    key = header_of(request.scope, b"idempotency-key")
    if key is not None and not is_key(key):
        raise invalid("Idempotency-Key", "must be 1 to 255 visible characters")
    return key


def once(handle: Handler, repeats: Repeats, *, takes_body: bool) -> Handler:
    """Return a handler that does requests with the same key once."""

    async def handler(request: Request) -> Response:
        key = idempotency_key_of(request)
        if key is None or is_dry_run(request):
            return await handle(request)
        caller: Caller = request.scope["caller"]
        # Not the id of the log: a client may choose that, and send a repeat with the same one.
        request_id = secrets.token_hex(16)
        digest = await _digest(request, caller, repeats, takes_body=takes_body)
        asked = RequestKey(stored_form(key), request_id, digest, sent=key)
        keys = services_of(request).request_keys
        if (before := await keys.answer_before(caller, asked)) is not None:
            return _repeated(before)
        request.scope["caller"] = replace(caller, request=asked)
        try:
            response = await handle(request)
        except RequestKeyTaken:
            if (before := await keys.answer_before(caller, asked)) is None:
                raise Unavailable("The first request with this key was just forgotten: send it again") from None
            return _repeated(before)
        # What was done is answered, even if the answer cannot be kept.
        with contextlib.suppress(Unavailable, RequestKeyTaken):
            await keys.keep(caller, asked, _kept(response) if repeats.keeps_answer else None)
        return response

    return handler


async def _digest(request: Request, caller: Caller, repeats: Repeats, *, takes_body: bool) -> str:
    asked = [request.method, request.url.path, request.url.query, caller.workspace_id]
    if repeats.omitted:
        value = await request.json()
        known = {k: v for k, v in value.items() if k not in repeats.omitted} if isinstance(value, dict) else None
        return digest_of_request([*asked, known])
    # The body of a route that takes none is not read, and has no limit.
    body = await request.body() if takes_body else b""
    digest = await on_thread_if(len(body), hashlib.sha256, body)
    return digest_of_request([*asked, request.headers.get("content-type"), digest.hexdigest()])


def _kept(response: Response) -> KeptAnswer:
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    return KeptAnswer(response.status_code, headers, bytes(response.body).decode())


def _repeated(before: KeptAnswer) -> Response:
    return encoded(before.body.encode(), before.status, {**before.headers, "Idempotent-Replayed": "true"})
