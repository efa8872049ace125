"""Bytes that flows write as base64."""

import pytest

from flowrunner.nodes.files import decoded
from flowrunner.plugin import NodeFailure


@pytest.mark.parametrize(
    ("text", "data"),
    [("", b""), ("YWJj", b"abc"), ("YW\r\nI=\n", b"ab"), (" Y W J j\t", b"abc"), ("+/+/", b"\xfb\xff\xbf")],
)
def test_base64_may_have_blanks_and_line_breaks(text: str, data: bytes) -> None:
    assert decoded(text, "body") == data


@pytest.mark.parametrize("text", ["YW*Jj", "YWJ", "YWJj-_", "ä", "{}", "YWJj.", "data:;base64,YWJj"])
def test_what_is_no_base64_is_a_failure_and_no_other_bytes(text: str) -> None:
    with pytest.raises(NodeFailure, match="The value of 'content' is not base64") as failure:
        decoded(text, "content", error="email.invalid")

    assert failure.value.type == "email.invalid"
