"""Requests to sandbox workers and their answers, as `worker` describes them, and the errors that answers report."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from flowrunner.bounded_json import BoundedDecoder
from flowrunner.domain.expression.script import Script, ScriptError
from flowrunner.domain.values import JSON
from flowrunner.sandbox.worker import MAX_REQUEST, PREFIX

CHECK: Final = b"C"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_LONE_SURROGATE: Final = re.compile(rb"\\\\|\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_TOO_DEEP: Final = "the value is nested too deeply"

# `at <anonymous> (<input>:3:12)`. Without parentheses, it is the place of a syntax error.
_FRAME: Final = re.compile(r"\(<input>:(\d+):(\d+)\)$", re.MULTILINE)
_SYNTAX: Final = re.compile(r"at <input>:(\d+):(\d+)$", re.MULTILINE)
# Messages of the engine quote their input, and truncate names to 63 bytes or slightly fewer, and the whole to 255.
_ENGINE: Final = re.compile(r"(?:Aggregate|Eval|Internal|Range|Reference|Syntax|Type|URI)?Error: ")
_QUOTED: Final = re.compile(r"'.*'|^\S+(?= is not (?:defined|initialized))", re.DOTALL)
_PIECE: Final = re.compile(r":? '.{4,}'", re.DOTALL)
_CUT_NAME_BYTES: Final = range(60, 64)
_CUT_MESSAGE_BYTES: Final = range(250, 257)


class ScriptAnswer(msgspec.Struct):
    """The answer to one script.

    Attributes:
        fault: The message of the error; None if there is none.
        kind: `syntax` or `error` if the error has a place in the script.
        limit: The exceeded limit.
        lines: Level and text of each `console` line.
        has_drawn: As of `ScriptOutcome`.
    """

    value: Any = None
    fault: str | None = None
    kind: str | None = None
    stack: str = ""
    limit: str | None = None
    lines: list[tuple[str, str]] = []
    has_drawn: bool = False


_decode: Final = BoundedDecoder[ScriptAnswer](ScriptAnswer).decode
_encode: Final = msgspec.json.Encoder().encode


def evaluation(now: datetime | None) -> bytes:
    """Return the kind of a request to evaluate scripts, as if the time were ``now`` if it is given."""
    return b"E" if now is None else b"T" + ((now - _EPOCH) // _MILLISECOND).to_bytes(8, "little", signed=True)


def encoded_request(kind: bytes, scripts: Sequence[Script], scope: Mapping[str, JSON] | None) -> bytes | None:
    """Return a request as its worker reads it; None if it is too large.

    Args:
        kind: `CHECK`, or what `evaluation` returns.
        scope: The values that the scripts can read; None for a check.

    Raises:
        TypeError, ValueError, OverflowError, RecursionError: For values without a JSON form.
    """
    parts = [kind, len(scripts).to_bytes(4, "little")]
    for script in scripts:
        # Text that is not valid Unicode is not valid JavaScript either, and the engine reports that.
        source = script.source.encode(errors="replace")
        parts += (b"b" if script.is_body else b"e", len(source).to_bytes(4, "little"), source)
    left = MAX_REQUEST - sum(map(len, parts))
    if scope is not None:
        encoded = _encoded_scope(scope, left)
        if encoded is None:
            return None
        parts.append(encoded)
    return b"".join(parts) if left >= 0 else None


def _encoded_scope(scope: Mapping[str, JSON], left: int) -> bytes | None:
    """Encode the visible values as JSON, name by name and node by node; return None once they are too large."""
    members: list[bytes] = []
    for name, value in scope.items():
        entries = value.items() if isinstance(value, dict) else ()
        if len(entries) > 1:
            pieces = []
            for key, entry in entries:
                pieces.append(b"%b:%b" % (_encode(key), _encode(entry)))
                left -= len(pieces[-1])
                if left < 0:
                    return None
            encoded = b"{%b}" % b",".join(pieces)
        else:
            encoded = _encode(value)
            left -= len(encoded)
        if left < 0:
            return None
        members.append(b"%b:%b" % (_encode(name), encoded))
    return b"{%b}" % b",".join(members)


def is_over(answers: Sequence[ScriptAnswer]) -> bool:
    """Return whether the last answer exceeded a limit that ends its worker."""
    return bool(answers) and answers[-1].limit in ("time", "memory")


def read_answer(answer: bytes) -> ScriptAnswer:
    try:
        return _decode(answer)
    except RecursionError:
        return ScriptAnswer(fault=_TOO_DEEP)
    except msgspec.DecodeError:
        # A lone surrogate has no UTF-8 form. It is replaced, as JavaScript does on output.
        return _decode(_LONE_SURROGATE.sub(lambda m: m[0] if m[0] == b"\\\\" else rb"\ufffd", answer))


def error_of(answer: ScriptAnswer, script: Script) -> ScriptError | None:
    if answer.fault is None:
        return None
    if answer.kind != "syntax":
        answer.fault = _without_truncated_quotes(answer.fault)
    place = None
    if answer.kind in ("syntax", "error"):
        place = (_SYNTAX if answer.kind == "syntax" else _FRAME).search(answer.stack)
    if place is None:
        return ScriptError(answer.fault, limit=answer.limit)
    line, column = int(place[1]), int(place[2])
    if line == 1:
        column -= PREFIX
    last = script.source.count("\n") + 1
    if column < 1 or line > last:
        # Code is missing at the end, and the engine reports a place behind the source.
        return ScriptError(answer.fault, last, limit=answer.limit)
    return ScriptError(answer.fault, line, column, answer.limit)


def _without_truncated_quotes(message: str) -> str:
    """Remove truncated quotes from an error message, because redaction does not find parts of secrets."""
    head = _ENGINE.match(message)
    if head is None:
        return message
    name, text = head[0], message[head.end() :]
    if len(text.encode()) in _CUT_MESSAGE_BYTES:
        return f"{name}a message of {len(text)} characters"
    if name == "SyntaxError: ":
        # The message quotes part of a text that was parsed at run time.
        return name + _PIECE.sub("", text)
    quoted = _QUOTED.search(text)
    if quoted is not None and len(quoted[0].strip("'").encode()) in _CUT_NAME_BYTES:
        return f"{name}{text[: quoted.start()]}'…'{text[quoted.end() :]}"
    return message
