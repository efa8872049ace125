"""Answers of the API as values, and the errors that they stand for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from flowrunner.client.errors import ApiError, UnreadableAnswer, class_of
from flowrunner.client.requests import Origin

_LONGEST_MESSAGE: Final = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer of the server.

    Attributes:
        headers: By their names in lower case.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """Return the value of the body; None without a body. Raises: UnreadableAnswer."""
        if not self.body:
            return None
        try:
            return json.loads(self.body, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise UnreadableAnswer(f"The answer with status {self.status} is not JSON") from None

    def object(self) -> dict[str, Any]:
        """Return the body, which is an object. Raises: UnreadableAnswer."""
        value = self.json()
        if not isinstance(value, dict):
            raise UnreadableAnswer(f"The answer with status {self.status} is not a JSON object")
        return value

    @property
    def etag(self) -> str | None:
        return self.headers.get("etag")

    @property
    def is_replay(self) -> bool:
        """The request had been done before, under the same key."""
        return self.headers.get("idempotent-replayed") == "true"

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before the same request is sent again."""
        text = self.headers.get("retry-after", "")
        return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def text_of(found: Mapping[str, Any], name: str) -> str:
    """Return a member of an answer, which is a text. Raises: UnreadableAnswer."""
    value = found.get(name)
    if not isinstance(value, str):
        raise UnreadableAnswer(f"The answer has no text '{name}'")
    return value


def check(answer: Answer, origin: Origin, *, may_be_done: bool = False) -> Answer:
    """Return the answer of a request that has succeeded.

    Args:
        may_be_done: An earlier attempt of the same request may have done it.

    Raises:
        ApiError: The answer is an error.
        UnreadableAnswer: It is a redirect.
    """
    if 200 <= answer.status < 300 or answer.status == 304:
        return answer
    if 300 <= answer.status < 400:
        # The token is for this origin alone, so redirects are not followed.
        place = answer.headers.get("location", "")[:_LONGEST_MESSAGE].partition("?")[0]
        raise UnreadableAnswer(f"{origin} redirects to {place!r}: if that is your server, use its URL")
    raise _error(answer, may_be_done=may_be_done)


def _error(answer: Answer, *, may_be_done: bool) -> ApiError:
    try:
        found = json.loads(answer.body)["error"]
        code, message = str(found["code"]), str(found["message"])
    except (ValueError, TypeError, KeyError, RecursionError):
        found, code = {}, ""
        message = f"The server answered with status {answer.status}, and not as FlowRunner does"
    if may_be_done and answer.status in (404, 409, 412):
        message += " (an earlier attempt may have done it)"
    details = found.get("details")
    return class_of(answer.status, code)(
        answer.status,
        code,
        message[:_LONGEST_MESSAGE],
        hint=_text(found.get("hint")),
        details=details if isinstance(details, dict) else None,
        request_id=_text(found.get("request_id")) or answer.headers.get("x-request-id"),
        docs=_text(found.get("docs")),
        retry_after=answer.retry_after,
    )


def _refuse(constant: str) -> None:
    """Raises: ValueError: NaN and Infinity are no JSON."""
    raise ValueError(constant)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
