"""Shared parts of the node types that send HTTP requests: their parameters, the request, and the answer."""

import time
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, ParamSpec, TypeAlias, TypeVar
from urllib.parse import urlsplit

import msgspec
from pydantic import AfterValidator, BeforeValidator, Field

from flowrunner.domain.causes import DEPTH_HEADER
from flowrunner.domain.retry import seconds_asked_for
from flowrunner.domain.values import left_after, memory_of_json
from flowrunner.nodes.charsets import text_bytes
from flowrunner.nodes.checks import checked
from flowrunner.nodes.http_answers import body_or_text
from flowrunner.plugin import JSON, LONG_BODY_BYTES, HttpAnswer, NodeFailure, ParamFault, StepContext

P = ParamSpec("P")
R = TypeVar("R")

ERRORS: Final = ("http", "connection", "timeout", "egress")
RESULT_KEYS: Final = ("status_code", "headers", "body", "metadata")
TIMEOUT_SECONDS: Final = 30.0
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
# RFC 9110, 9.2.2: sending these twice does what sending them once does.
REPEATABLE_METHODS: Final = METHODS - {"POST", "PATCH"}
MOST_VALUES: Final = 5000
_DEPTH: Final = DEPTH_HEADER.lower()
_SCHEMES: Final = ("http://", "https://")
_MOST_SHOWN: Final = 60


def _check_method(value: str) -> None:
    if value.upper() not in METHODS:
        raise ValueError(f"must be one of {', '.join(sorted(METHODS))}")


def bounded(fields: Any) -> Any:
    """Return headers or fields unchanged; reject too many, because each value may have several faults."""
    values = fields.values() if isinstance(fields, Mapping) else ()
    if sum(max(len(value), 1) if isinstance(value, list) else 1 for value in values) > MOST_VALUES:
        raise ValueError(f"must have at most {MOST_VALUES} values")
    return fields


Method: TypeAlias = Annotated[str, checked(_check_method), AfterValidator(str.upper), Field(examples=sorted(METHODS))]
Scalar: TypeAlias = str | int | float | bool
# Null values are left out.
Headers: TypeAlias = Annotated[dict[str, Scalar | None], BeforeValidator(bounded)]


def url_faults(params: Mapping[str, JSON], key: str = "url") -> list[ParamFault]:
    """Return the faults at the beginning of a URL, as far as the document shows it."""
    url = params.get(key)
    begins = url.partition("${")[0].lower() if isinstance(url, str) else ""
    # Expressions of other systems, `{{ url }}`, have a warning of their own.
    if not isinstance(url, str) or not begins or begins.startswith(_SCHEMES) or "{{" in begins:
        return []
    if begins != url.lower() and any(scheme.startswith(begins) for scheme in _SCHEMES):
        return []
    shown = url[:_MOST_SHOWN]
    hint = f"write https://{shown.lstrip('/')}"
    if url.startswith("/") and not url.startswith("//"):
        hint = f"begin with the server: https://example.com{shown}"
    elif "://" in begins:
        hint = "other schemes are not supported"
    message = f"'{shown}' does not begin with http:// or https://"
    return [ParamFault(keys=(key,), code="param", message=message, hint=hint)]


async def send(
    context: StepContext,
    *,
    method: str,
    url: str,
    write: Callable[[], tuple[bytes | None, Mapping[str, str]]],
    is_long: bool = False,
    max_redirects: int = 0,
    expected: frozenset[int] | None = None,
    read: Callable[[HttpAnswer], JSON] = body_or_text,
    said: str = "HTTP request",
) -> JSON:
    """Send one request and return the node's result.

    Args:
        write: Returns the body and the headers. Called once the request has its slot.
        is_long: The body may have more than `LONG_BODY_BYTES`. It is written on a thread then.
        expected: Statuses that are a success; 200 to 299 if None.
        read: Returns the node's `body`, or raises `NodeFailure` if the answer cannot be read.
        said: Name of the request in the log.

    Raises:
        NodeFailure: `http.<status>` for an unexpected status, or an error of the client.
    """
    begun = time.perf_counter()
    async with context.http.hold(is_long=is_long) as http:
        body, headers = await on_thread(write) if is_long else write()
        answer = await http.request(
            method,
            url,
            headers=with_own(headers, context),
            body=body,
            max_redirects=max_redirects,
            on_long=context.hold_long_value,
        )
    milliseconds = round((time.perf_counter() - begun) * 1000, 3)
    if answer.is_stripped:
        context.log(
            "warn",
            f"A redirect was followed to {urlsplit(answer.url).netloc} without the node's headers and body, which are "
            f"for {urlsplit(url).hostname}. If they may go there, use that server's URL in the node",
        )
    succeeded = answer.status in expected if expected is not None else 200 <= answer.status <= 299
    facts: dict[str, JSON] = {"status_code": answer.status, "url": answer.url}
    if not succeeded:
        raise await http_failure(context, answer)
    context.log("info", f"{said} successful", facts)
    return {
        "status_code": answer.status,
        "headers": dict(answer.headers),
        "body": await read_soon(context, answer, read),
        "metadata": {
            "url": answer.url,
            "method": method,
            "timing_ms": milliseconds,
            "content_type": answer.headers.get("content-type"),
            "content_length": len(answer.body),
            "redirects": answer.redirects,
        },
    }


async def http_failure(context: StepContext, answer: HttpAnswer) -> NodeFailure:
    """Return the error of a status."""
    body = await read_soon(context, answer, body_or_text)
    return NodeFailure(
        f"http.{answer.status}",
        f"HTTP request failed with status {answer.status}",
        data={"status_code": answer.status, "url": answer.url, "headers": dict(answer.headers), "body": body},
        retry_after=seconds_asked_for(answer.headers.get("retry-after"), context.now()),
    )


def with_own(given: Mapping[str, str], context: StepContext) -> dict[str, str]:
    """Return the headers of a node with those that each request has."""
    # A webhook trigger can tell a loop, also if the node has a header of this name.
    headers = {name: value for name, value in given.items() if name.lower() != _DEPTH}
    if not (headers and _has(headers, "idempotency-key")):
        # The receiver can tell a repeat, after a crash or by a retry, from a second request.
        headers["Idempotency-Key"] = context.idempotency_key
    headers[DEPTH_HEADER] = str(context.depth + 1)
    return headers


async def on_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    # Imported here, because `flowrunner validate` needs the parameters of this type and no event loop.
    from asyncio import to_thread

    return await to_thread(function, *args, **kwargs)


async def read_soon(context: StepContext, answer: HttpAnswer, read: Callable[[HttpAnswer], JSON]) -> JSON:
    """Read a body. A long one is read when there is memory for it, in a thread, so that the event loop stays free."""
    if len(answer.body) <= LONG_BODY_BYTES:
        return read(answer)
    # None too small for a text, either.
    await context.hold_long_value(memory_of_json(answer.body))
    return await on_thread(read, answer)


def _has(headers: Mapping[str, str], name: str) -> bool:
    return any(key.lower() == name for key in headers)


def is_long_value(value: JSON) -> bool:
    """Return whether a value may have more than `LONG_BODY_BYTES` as a body, or takes as long to write."""
    return left_after(value, LONG_BODY_BYTES) < 0


def json_body(value: JSON, headers: Mapping[str, str]) -> tuple[bytes, Mapping[str, str]]:
    """Return a body and its headers: text in the charset that these name, every other value as JSON.

    Raises:
        NodeFailure: `http.invalid_request` if the charset is not known, or cannot have the text.
    """
    if isinstance(value, str):
        own = next((text for name, text in headers.items() if name.lower() == "content-type"), "")
        body, kind = text_bytes(value, own, "headers.Content-Type"), "text/plain; charset=utf-8"
    else:
        body, kind = msgspec.json.encode(value), "application/json"
    return body, with_content_type(headers, kind)


def header_texts(headers: Headers) -> Mapping[str, str]:
    return {name: text_of_scalar(value) for name, value in headers.items() if value is not None}


def text_of_scalar(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def with_content_type(headers: Mapping[str, str], kind: str) -> Mapping[str, str]:
    """Return headers with the type of the body, unless they have one of their own."""
    return headers if _has(headers, "content-type") else {**headers, "Content-Type": kind}


def with_headers(headers: Mapping[str, str], own: Mapping[str, str]) -> Mapping[str, str]:
    """Return headers with those of the node's own in place of the ones that are called the same, in any case."""
    names = {name.lower() for name in own}
    return {**{name: value for name, value in headers.items() if name.lower() not in names}, **own}
