"""Identities of traces and spans, derived from what is recorded of an execution.

So a restart, and every process, finds the same ones: see decision 0020. The context of another program, or of another
execution, is recorded with the start.

Source: W3C Trace Context, https://www.w3.org/TR/trace-context/, version 00.
"""

import hashlib
import re
from typing import Final, NamedTuple

from flowrunner.domain.events import Step
from flowrunner.domain.values import ExecutionId

_FORM: Final = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 1


class TraceContext(NamedTuple):
    """A span and its trace, each in lower-case hexadecimal digits."""

    trace_id: str
    span_id: str
    is_sampled: bool = True

    def __str__(self) -> str:
        """Return the value of a `traceparent` header."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.is_sampled):02x}"


def read_traceparent(text: str) -> TraceContext | None:
    """Return the context in a `traceparent` header; None if there is none, or it is not valid."""
    found = _FORM.fullmatch(text)
    if found is None or (found[1] == "00" and found[5]):
        return None
    trace_id, span_id = found[2], found[3]
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return TraceContext(trace_id, span_id, bool(int(found[4], 16) & _SAMPLED))


def trace_id_of(execution_id: ExecutionId) -> str:
    """Return the trace of an execution that begins one."""
    return hashlib.blake2b(execution_id.encode(), digest_size=16, person=b"trace").hexdigest()


def span_id_of(execution_id: ExecutionId, step: Step | None = None) -> str:
    """Return the span of an execution, or of one of its steps with all its attempts."""
    name = execution_id if step is None else f"{execution_id} {step}"
    return hashlib.blake2b(name.encode(), digest_size=8, person=b"span").hexdigest()
