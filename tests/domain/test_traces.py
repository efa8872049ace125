"""Contexts of traces: what a `traceparent` header says, and the identities of executions and steps."""

import pytest

from flowrunner.domain.events import Step
from flowrunner.domain.traces import TraceContext, read_traceparent, span_id_of, trace_id_of
from flowrunner.domain.values import ExecutionId

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("text", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True), (f"00-{TRACE}-{SPAN}-00", False), (f"00-{TRACE}-{SPAN}-02", False),
        (f"00-{TRACE}-{SPAN}-03", True), (f"01-{TRACE}-{SPAN}-01", True), (f"fe-{TRACE}-{SPAN}-01-more", True),
    ],
)  # fmt: skip
def test_a_context_is_read_with_its_flag(text: str, is_sampled: bool) -> None:
    assert read_traceparent(text) == TraceContext(trace_id=TRACE, span_id=SPAN, is_sampled=is_sampled)


@pytest.mark.parametrize(
    "text",
    [
        "", f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01-more", f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01", f"00-{SPAN}-{TRACE}-01", f" 00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-1",
    ],
)  # fmt: skip
def test_a_header_that_is_not_valid_gives_no_context(text: str) -> None:
    assert read_traceparent(text) is None


@pytest.mark.parametrize("is_sampled", [True, False])
def test_a_context_that_is_written_reads_back(is_sampled: bool) -> None:
    context = TraceContext(TRACE, SPAN, is_sampled)

    assert str(context) == f"00-{TRACE}-{SPAN}-{'01' if is_sampled else '00'}"
    assert read_traceparent(str(context)) == context


def test_executions_and_their_steps_have_spans_of_their_own_which_stay_the_same() -> None:
    one, two = ExecutionId("exec-1"), ExecutionId("exec-2")
    spans = [span_id_of(one), span_id_of(two), span_id_of(one, Step("a", 1)), span_id_of(one, Step("b", 1)),
             span_id_of(one, Step("a", 2))]  # fmt: skip

    assert len(set(spans)) == len(spans)
    assert spans[2] == span_id_of(ExecutionId("exec-1"), Step("a", 1))
    assert {len(span) for span in spans} == {16}
    assert (len(trace_id_of(one)), trace_id_of(one) == trace_id_of(two)) == (32, False)
