"""Node type `http.request`: send a request to a server."""

import base64
import urllib.parse
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import BeforeValidator, Field, model_validator

from flowrunner.domain.duration import LONGEST_SECONDS, parse_duration
from flowrunner.nodes.checks import checked
from flowrunner.nodes.durations import Duration
from flowrunner.nodes.files import File, decoded, multipart
from flowrunner.nodes.http import (
    ERRORS,
    REPEATABLE_METHODS,
    RESULT_KEYS,
    TIMEOUT_SECONDS,
    Headers,
    Method,
    Scalar,
    bounded,
    header_texts,
    is_long_value,
    json_body,
    send,
    text_of_scalar,
    url_faults,
    with_content_type,
    with_headers,
)
from flowrunner.nodes.http_answers import ResponseKind, read_body
from flowrunner.plugin import JSON, NodeFailure, NodeType, ParamFault, Params, StepContext

MAX_REDIRECTS: Final = 5
_MOST_STATUSES: Final = 1000
MOST_QUERY_CHARACTERS: Final = 64 * 1024
# Characters of a text that are quoted at a time.
_SLICE: Final = 64 * 1024


class Auth(Params):
    username: str | None = None
    password: str | None = None
    token: str | None = Field(default=None, description="Sent as a bearer token.")
    api_key: str | None = None
    key_name: str = Field(default="X-API-Key", description="The header that carries `api_key`.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [self.username is not None, self.token is not None, self.api_key is not None]
        if sum(given) != 1:
            raise ValueError("give one of: username and password, token, api_key")
        return self

    def headers(self) -> Mapping[str, str]:
        if self.username is not None:
            pair = f"{self.username}:{self.password or ''}".encode()
            return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
        if self.token is not None:
            return {"Authorization": f"Bearer {self.token}"}
        return {self.key_name: self.api_key or ""}


def _check_timeout(text: str) -> None:
    if parse_duration(text) <= 0:
        raise ValueError("must be longer than 0")


# A list repeats the name; null values are left out.
Fields = Annotated[dict[str, Scalar | list[Scalar | None] | None], BeforeValidator(bounded)]
Files = Annotated[dict[str, File], BeforeValidator(bounded)]


class HttpRequestParams(Params):
    url: str = Field(min_length=1, max_length=8192)
    method: Method = Field(default="GET", description="GET, HEAD, OPTIONS, POST, PUT, PATCH or DELETE.")
    headers: Headers = Field(default={})
    query: Fields = Field(default={}, description="Added to the URL.")
    body: Any = Field(default=None, description="Text, or any value to be sent as JSON.")
    base64: str | None = Field(default=None, description="Bytes to be sent instead of `body`, as base64.")
    form: Fields | None = Field(default=None, description="Sent as application/x-www-form-urlencoded.")
    files: Files | None = Field(default=None, description="Sent with `form`, as multipart/form-data.")
    auth: Auth | None = None
    timeout: Annotated[Duration, checked(_check_timeout)] | None = Field(
        default=None, description="How long one attempt may take."
    )
    follow_redirects: bool = False
    expect_status: int | Annotated[list[int], Field(max_length=_MOST_STATUSES)] | None = Field(
        default=None, description="200 to 299 if absent."
    )
    response: ResponseKind | None = Field(default=None, description="By content type if absent.")

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        given = [name for name in ("body", "base64", "form", "files") if getattr(self, name) is not None]
        if len(given) > 1 and given != ["form", "files"]:
            raise ValueError(f"give either '{given[0]}' or '{given[1]}'")
        return self

    def is_long(self) -> bool:
        """Return whether the body may be long: see `is_long_value`."""
        files = [[name, file.base64, file.text] for name, file in (self.files or {}).items()]
        return any(value is not None and is_long_value(value) for value in (self.body, self.base64, self.form, files))


class HttpRequest(NodeType[HttpRequestParams]):
    """Sends a request and returns the answer."""

    type = "http.request"
    examples = (
        "type: http.request\nparams:\n  url: https://example.com\noutput: ${result.body}\n",
        "type: http.request\nparams:\n  url: https://api.example.com/orders/${input.id}\n"
        "  auth: {token: '${secrets.API_TOKEN}'}\noutput: ${result.body}\n",
        "type: http.request\nparams:\n  url: https://api.example.com/orders\n  method: POST\n"
        "  body: {id: '${input.id}', total: '${input.total}'}\nretry: {max: 5, delay: 2s}\n",
        "type: http.request\nparams:\n  url: https://files.example.com/invoices\n  method: POST\n  form: {year: 2027}\n"
        "  files: {scan: {filename: scan.pdf, content_type: application/pdf, base64: '${input.body}'}}\n",
    )
    Params = HttpRequestParams
    keeps_params = True
    errors: ClassVar[tuple[str, ...]] = ERRORS
    timeout_seconds = TIMEOUT_SECONDS
    result_keys = RESULT_KEYS

    def repeatable(self, params: Mapping[str, JSON]) -> bool:
        return str(params.get("method", "GET")).upper() in REPEATABLE_METHODS

    def timeout_of(self, params: Mapping[str, JSON]) -> float:
        written = params.get("timeout")
        if written is None:
            return self.timeout_seconds
        try:
            # A little longer than the parameter, so that the parameter's own timeout is the one that fires.
            return parse_duration(str(written)) + 1.0
        except ValueError:
            # An expression, whose value is not known yet: only the parameter limits the attempt.
            return LONGEST_SECONDS

    def check(self, params: Mapping[str, JSON]) -> list[ParamFault]:
        return [*super().check(params), *url_faults(params)]

    async def run(self, params: HttpRequestParams, context: StepContext) -> JSON:
        if params.timeout is None:
            return await _send(params, context)
        # Imported here for the same reason as in `on_thread`.
        from asyncio import timeout

        try:
            async with timeout(parse_duration(params.timeout)):
                return await _send(params, context)
        except TimeoutError:
            raise NodeFailure("timeout", f"No answer from {params.url} within {params.timeout}") from None


async def _send(params: HttpRequestParams, context: StepContext) -> JSON:
    statuses = params.expect_status
    return await send(
        context,
        method=params.method,
        url=with_query(params.url, params.query),
        write=partial(_written, params),
        is_long=params.is_long(),
        max_redirects=MAX_REDIRECTS if params.follow_redirects else 0,
        expected=None if statuses is None else frozenset([statuses] if isinstance(statuses, int) else statuses),
        read=partial(read_body, kind=params.response),
    )


def _written(params: HttpRequestParams) -> tuple[bytes | None, Mapping[str, str]]:
    """Return the body and the headers of a request."""
    headers: Mapping[str, str] = header_texts(params.headers)
    if params.auth is not None:
        headers = with_headers(headers, params.auth.headers())
    if params.files is not None:
        body, kind = multipart(list(_pairs(params.form or {})), params.files)
        # The type names the boundary of this body.
        return body, with_headers(headers, {"Content-Type": kind})
    if params.base64 is not None:
        return decoded(params.base64, "base64"), with_content_type(headers, "application/octet-stream")
    if params.form is not None:
        return encoded(params.form).encode(), with_content_type(headers, "application/x-www-form-urlencoded")
    if params.body is not None:
        return json_body(params.body, headers)
    return None, headers


def with_query(url: str, query: Fields) -> str:
    """Return the URL with the query added.

    Raises:
        NodeFailure: `http.invalid_request` if the query is longer than servers accept.
    """
    if not query:
        return url
    if sum(len(name) + len(value) for name, value in _pairs(query)) > MOST_QUERY_CHARACTERS:
        raise NodeFailure(
            "http.invalid_request",
            f"The query has more than {MOST_QUERY_CHARACTERS} characters: send it as 'form' or 'body'",
        )
    added = encoded(query)
    if not added:
        return url
    base, mark, fragment = url.partition("#")
    joint = "" if base.endswith(("?", "&")) else "&" if "?" in base else "?"
    return f"{base}{joint}{added}{mark}{fragment}"


def encoded(fields: Fields) -> str:
    """Return fields in the encoding of forms and queries."""
    return "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in _pairs(fields))


def _quoted(text: str) -> str:
    # Quoting takes a hundred times the memory of the text.
    return "".join(urllib.parse.quote_plus(text[at : at + _SLICE]) for at in range(0, len(text), _SLICE))


def _pairs(fields: Fields) -> Iterator[tuple[str, str]]:
    """Yield each name with each of its values that is not null."""
    for name, values in fields.items():
        for value in values if isinstance(values, list) else [values]:
            if value is not None:
                yield name, text_of_scalar(value)
