"""Text that a browser would take for more than text."""

import json
import urllib.parse
from typing import Final

import pytest

from support.client import Client

MARKUP: Final = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg onload=alert(1)>", "javascript:alert(1)",
    "\"><script>alert(1)</script>", "'-alert(1)-'", "</title><script>alert(1)</script>", "<iframe srcdoc='x'>",
    "data:text/html,<script>alert(1)</script>", "{{constructor.constructor('alert(1)')()}}", "\u2028alert(1)",
    "<a href='javascript:alert(1)'>", "<!--<script>", "<math><mtext></mtext><script>alert(1)</script></math>",
    "+ADw-script+AD4-alert(1)+ADw-/script+AD4-",
)  # fmt: skip


@pytest.mark.parametrize("text", MARKUP)
def test_s49_what_users_write_is_answered_as_data_and_never_as_a_page(account: Client, text: str) -> None:
    """The API's part of it: there is no page yet that shows what users write."""
    definition = {
        "metadata": {"description": text},
        "nodes": {"a": {"type": "log", "params": {"message": text, "data": {text: text}}, "next": "b"},
                  "b": {"type": "fail", "params": {"message": text, "data": text}}},
    }  # fmt: skip
    name = text.replace("\u2028", "")  # A name with a line break is refused.
    flow = account.new_flow(json.dumps(definition), name=name, tags=[text], description=text)
    id = account.run(flow, {text: text})
    account.ended(id)
    quoted = urllib.parse.quote(text, safe="")
    for path in (
        "flows", f"flows?tag={quoted}", f"flows/{flow}", f"flows/{flow}/revisions/1", f"executions/{id}",
        f"executions/{id}/logs", "executions", f"flows/{quoted}", f"executions?status={quoted}", quoted,
        f"executions/{quoted}/logs",
    ):  # fmt: skip
        for headers in ({}, {"Accept": "text/html"}):
            reply = account.request("GET", f"/api/v1/{path}", headers=headers)
            assert reply.headers["content-type"] == "application/json", path
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in reply.headers["content-security-policy"]
            assert text.encode() not in b"".join(f"{k}: {v}\n".encode() for k, v in reply.headers.items())
    assert account.get(f"/api/v1/flows/{flow}").json["name"] == name, "nothing of it is changed"
    (step, *_) = account.get(f"/api/v1/executions/{id}/steps").json["steps"]
    result = account.get(f"/api/v1/executions/{id}/steps/{step['id']}/result")
    assert result.headers["content-disposition"] == 'attachment; filename="result.json"'
    assert result.headers["x-content-type-options"] == "nosniff"
