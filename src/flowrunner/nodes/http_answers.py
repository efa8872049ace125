"""Bodies of HTTP answers as values."""

import base64
from typing import Final, Literal, TypeAlias

import msgspec

from flowrunner.bounded_json import decode_json
from flowrunner.domain.charsets import codec_of
from flowrunner.domain.values import MOST_LEVELS
from flowrunner.plugin import JSON, HttpAnswer, NodeFailure

ResponseKind: TypeAlias = Literal["json", "text", "base64"]

# The limit of an error's data is 256 KiB as JSON, which may write a byte with six characters, and in memory, where a
# text may take four bytes for each of its own. Headers have at most 64 KiB.
_SURELY_KEPT_BYTES: Final = 24 * 1024
# Errors of `json_of`.
UNREADABLE: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)


def read_body(answer: HttpAnswer, kind: ResponseKind | None) -> JSON:
    """Return the body of an answer as a value.

    Args:
        kind: JSON, text or base64. None decides by the content type: JSON, otherwise text, and base64 for bytes that
            are not text in the charset of the answer.

    Raises:
        NodeFailure: `http.invalid_json` if it must be JSON and is not, `http.invalid_answer` if it must be JSON or text
            and its charset is not known.
    """
    if kind == "base64":
        return base64.b64encode(answer.body).decode()
    if kind is None and not answer.body:
        return None
    if kind == "json" or (kind is None and _says_json(answer)):
        return _json(answer)
    if kind == "text":
        return _text(answer)
    codec = _codec_of(answer)
    try:
        return base64.b64encode(answer.body).decode() if codec is None else _without_nul(answer.body.decode(codec))
    except UnicodeDecodeError:
        return base64.b64encode(answer.body).decode()


def body_or_text(answer: HttpAnswer) -> JSON:
    """Return the body by its content type, or as text if it does not match its content type."""
    try:
        return read_body(answer, None)
    except NodeFailure:
        return _without_nul(answer.body.decode(_codec_of(answer) or "utf_8_sig", "replace"))


def _json(answer: HttpAnswer) -> JSON:
    codec = _known_codec_of(answer)
    try:
        return json_of(answer.body.decode(codec))
    except UNREADABLE as error:
        # The data of a larger error is not kept.
        where = "" if len(answer.body) <= _SURELY_KEPT_BYTES else ", if the data of the error has at most 256 KiB"
        raise NodeFailure(
            "http.invalid_json",
            f"The answer with status {answer.status} is not valid JSON: {error}. "
            f"Its text is in ${{error.data.body}}{where}. Set 'response: text' to take it as text",
            data={
                "status_code": answer.status,
                "url": answer.url,
                "headers": dict(answer.headers),
                "body": _text(answer),
            },
        ) from None


def json_of(text: str) -> JSON:
    """Return the value of a text of JSON.

    Raises:
        MsgspecError, UnicodeError, RecursionError: It is not JSON, or nested too deep.
    """
    value: JSON = decode_json(text)
    _check_depth(value, text)
    return value


def _check_depth(value: JSON, text: str) -> None:
    """Raises: RecursionError if the value is nested so deep that what contains it could not be decoded again."""
    if text.count("[") + text.count("{") <= MOST_LEVELS:
        return
    level = [value]
    for _ in range(MOST_LEVELS):
        level = [
            item
            for holder in level
            for item in (holder.values() if isinstance(holder, dict) else holder if isinstance(holder, list) else ())
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise RecursionError(f"it is nested more than {MOST_LEVELS} levels deep")


def _text(answer: HttpAnswer) -> str:
    return _without_nul(answer.body.decode(_known_codec_of(answer), "replace"))


def _without_nul(text: str) -> str:
    # Databases cannot store a NUL in text.
    return text.replace("\x00", "\ufffd")


def _says_json(answer: HttpAnswer) -> bool:
    content_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return content_type == "application/json" or content_type.endswith("+json")


def _known_codec_of(answer: HttpAnswer) -> str:
    codec = _codec_of(answer)
    if codec is None:
        raise NodeFailure(
            "http.invalid_answer",
            f"The charset of the answer's Content-Type, '{answer.headers['content-type']}', is not known. "
            "Set 'response: base64' to take the bytes as they are",
        )
    return codec


def _codec_of(answer: HttpAnswer) -> str | None:
    """Return the codec for the charset of an answer, UTF-8 if it names none, or None for an unknown charset."""
    codec = codec_of(answer.headers.get("content-type", ""))
    # A byte order mark is not part of the text.
    return "utf_8_sig" if codec == "utf_8" else codec
