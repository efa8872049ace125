"""What the server writes about its failures tells nothing that a flow works with."""

import json
from pathlib import Path
from typing import Final

import pytest

from security.test_secrets import PLAIN, leaks
from support.server import Server

# A node type as somebody might write it: the secret is in its parameters, in variables of its own,
# and in those of whatever it calls, when it fails.
CRASHING: Final = """
import json
from flowrunner.cli.main import main
from flowrunner.nodes.transform import Transform

async def run(self, params, context):
    header = f"Bearer {params.value}"
    return json.loads(params.value)["nothing"]

Transform.run = run
main()
"""
FLOW: Final = "nodes:\n  a: {type: transform, params: {value: '[\"${secrets.PLAIN}\"]'}}\n"


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_the_log_of_a_crash_shows_where_it_was_and_no_secret(tmp_path: Path, log_format: str) -> None:
    settings = {"LOG_FORMAT": log_format, "LOG_LEVEL": "debug"}
    server = Server(tmp_path, settings, program=("-c", CRASHING))
    try:
        account = server.start().admin().new_account()
        account.new_secret("PLAIN", PLAIN)
        ended = account.run_to_end(FLOW)
    finally:
        server.stop()

    assert ended["status"] == "failed"
    assert "node.crashed" in server.log
    assert "list indices must be integers" in server.log
    assert leaks({log_format: server.log}, (PLAIN,)) == []
    if log_format == "json":
        events = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
        (crash,) = [event for event in events if event["event"] == "node.crashed"]
        assert crash["exception"][0]["frames"][-1]["name"] == "run"
