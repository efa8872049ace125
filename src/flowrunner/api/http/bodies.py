"""Bodies of requests: bounded, and strict JSON, flow documents or archives."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final, Self

from fastapi import Request
from fastapi._compat import ModelField
from fastapi.exceptions import RequestValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Scope

from flowrunner.api.http.authentication import caller_of
from flowrunner.api.http.errors import InvalidRequest
from flowrunner.api.http.headers import header_of
from flowrunner.api.http.state import state_of
from flowrunner.domain import strict_json
from flowrunner.domain.values import JSON, WorkspaceId, memory_of_json, personal_workspace
from flowrunner.domain.whole_numbers import natural_number_of
from flowrunner.ports.memory import BodyRoom
from flowrunner.threads import LONG_BYTES, on_thread_if

MAX_BODY_BYTES: Final = 1024 * 1024
# A definition of 1 MiB can be more than twice as long when it is escaped as JSON.
MAX_FLOW_BODY_BYTES: Final = 3 * 1024 * 1024
# Bodies of unauthenticated callers are short: no field exceeds this limit, even fully escaped.
MAX_ANONYMOUS_BODY_BYTES: Final = 32 * 1024
MAX_BATCH_BODY_BYTES: Final = 16 * 1024 * 1024
# Memory of a body's value for which nothing is reserved. A short body never takes more.
_UNRESERVED_BYTES: Final = 256 * 1024
_SHORT_BODY_BYTES: Final = 4 * 1024

# The media types of a flow document: RFC 9512, and two that are older.
_YAML: Final = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})
_ZIP: Final = "application/zip"


def memory_to_reserve(body: bytes) -> int:
    """Return about how many bytes of memory the value of a body takes; 0 if they are few.

    Many requests wait at the same time, and a body of many small values takes thirty times its length. An estimate for
    JSON is none too small for a text.
    """
    if len(body) <= _SHORT_BODY_BYTES:
        return 0
    size = memory_of_json(body)
    return size if len(body) > LONG_BYTES or size > _UNRESERVED_BYTES else 0


async def read_bounded(request: Request, most: int) -> bytes:
    """Return the body, of any type. Raises: InvalidRequest if it has more than ``most`` bytes, or was cut off."""
    length = header_of(request.scope, b"content-length")
    if length is not None and ((announced := natural_number_of(length.strip(" \t"))) is None or announced > most):
        raise _too_large(most)
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise _too_large(most)
            chunks.append(chunk)
    except ClientDisconnect:
        raise InvalidRequest("The request body was cut off") from None
    return b"".join(chunks)


def _too_large(most: int) -> InvalidRequest:
    return InvalidRequest(f"The request body has more than {most} bytes", status=413)


class StrictRequest(Request):
    """A request with a bounded body of strict JSON, or of YAML where the route takes flow documents.

    Args:
        room: The memory for long bodies.

    Attributes:
        is_document: The body is a flow document.
    """

    is_document = False
    # The value of an empty body.
    _value: Any = None

    def __init__(self, request: Request, room: BodyRoom, *, most: int, takes_yaml: bool, takes_zip: bool) -> None:
        super().__init__(request.scope, request.receive)
        self._room = room
        self._most = most
        self._takes_yaml = takes_yaml
        self._takes_zip = takes_zip

    @contextlib.asynccontextmanager
    async def parsed(self) -> AsyncIterator[Self]:
        """Read the body. The memory that its value takes is reserved until the request has been answered.

        Raises:
            InvalidRequest: 413 if it is too large, 415 if its headers do not declare JSON, 400 if its content is not
                JSON.
        """
        self._body = await read_bounded(self, self._most)
        if self._takes_zip:
            _check_is_zip(self.scope)
            # As much as it may hold, whatever its size: a short archive can be of long documents.
            async with self._room.hold(self._share, 2 * MAX_BATCH_BODY_BYTES):
                yield self
            return
        # Of others than authenticated callers, no body is longer than `MAX_ANONYMOUS_BODY_BYTES`. On a thread: it takes
        # 30 ms for the longest bodies, and those of several accounts may end in one iteration of the loop.
        size = await on_thread_if(len(self._body), memory_to_reserve, self._body) if "caller" in self.scope else 0
        if not size:
            await self._parse(self._body)
            yield self
            return
        async with self._room.hold(self._share, size):
            await self._parse(self._body)
            yield self

    @property
    def _share(self) -> WorkspaceId:
        """Return the holder of the request's memory: the account, which may have many workspaces."""
        return personal_workspace(caller_of(self).account_id)

    async def _parse(self, data: bytes) -> None:
        if not data:
            return
        self.is_document = _is_document(self.scope, takes_yaml=self._takes_yaml)
        if self.is_document:
            self._value = {"definition": _text_of(data)}
            return
        try:
            self._value = await self._read_long(data) if len(data) > LONG_BYTES else strict_json.loads(data)
        except strict_json.InvalidJson as error:
            raise InvalidRequest(f"The request body cannot be read: {error}") from None

    async def _read_long(self, data: bytes) -> JSON:
        """Parse a long body on a thread, because the longest ones take a third of a second."""
        # There are few threads, so an account uses one at a time.
        async with state_of(self).long_bodies.of(caller_of(self)):
            return await asyncio.to_thread(strict_json.loads, data)

    async def json(self) -> Any:
        return self._value


def is_document(request: Request) -> bool:
    """Return True if the body is a flow document, and not JSON with a `definition`."""
    return isinstance(request, StrictRequest) and request.is_document


def _is_document(scope: Scope, *, takes_yaml: bool) -> bool:
    """Return True if the headers declare YAML, and False if they declare JSON. Raises: InvalidRequest."""
    media_type, _, parameters = (header_of(scope, b"content-type") or "").partition(";")
    media_type, charset = media_type.strip().lower(), parameters.replace(" ", "").lower()
    is_yaml = takes_yaml and media_type in _YAML
    if not (is_yaml or media_type == "application/json") or charset not in ("", "charset=utf-8"):
        wanted, or_yaml = ("JSON or YAML", ", or application/yaml") if takes_yaml else ("JSON", "")
        hint = f"send it with 'Content-Type: application/json'{or_yaml}"
        raise InvalidRequest(f"The request body must be {wanted}", status=415, hint=hint)
    _check_is_not_compressed(scope)
    return is_yaml


def _check_is_zip(scope: Scope) -> None:
    """Raises: InvalidRequest."""
    if (header_of(scope, b"content-type") or "").strip().lower() != _ZIP:
        hint = f"send it with 'Content-Type: {_ZIP}'"
        raise InvalidRequest("The request body must be a zip archive", status=415, hint=hint)
    _check_is_not_compressed(scope)


def _check_is_not_compressed(scope: Scope) -> None:
    """Raises: InvalidRequest."""
    encoding = header_of(scope, b"content-encoding")
    if encoding is not None and encoding.lower() != "identity":
        raise InvalidRequest("The request body must not be compressed", status=415)


def _text_of(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The request body is not UTF-8: byte {error.start + 1} is invalid") from None


async def validated(request: Request, body: ModelField) -> Any:
    """Return the validated body, or its default if none was sent. Raises: RequestValidationError."""
    if not await request.body():
        if body.field_info.is_required():
            raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required"}])
        return body.get_default()
    value, errors = body.validate(await request.json(), {}, loc=("body",))
    if errors:
        raise RequestValidationError(errors)
    return value
