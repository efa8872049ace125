"""Invalid documents, which are rejected with the line and at low cost."""

import tracemalloc

import pytest

from flowrunner.language import study_flow
from support.bad_documents import BAD, OF_WRONG_TYPES
from support.flows import specs

# Memory for a document of a megabyte, its values and its faults.
MOST_BYTES = 64 * 1024 * 1024


def test_there_are_many() -> None:
    assert len(BAD) + len(OF_WRONG_TYPES) >= 250


@pytest.mark.parametrize(("text", "line"), [case[1:] for case in OF_WRONG_TYPES], ids=[c[0] for c in OF_WRONG_TYPES])
def test_a_value_of_a_wrong_type_is_rejected_with_its_line(text: str, line: int) -> None:
    reading = study_flow(text, specs())

    assert reading.flow is None
    assert [(fault.line, bool(fault.code and fault.message)) for fault in reading.faults if not fault.is_warning] == [
        (line, True)
    ]


LARGE = {name: text for name, text, _ in BAD if len(text) > 10_000 or "bomb" in name}


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE.keys())
def test_no_document_takes_much_memory(text: str) -> None:
    tracemalloc.start()
    try:
        study_flow(text, specs())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < MOST_BYTES
