"""What the server writes about its failures tells nothing that a flow works with."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final, Literal

import pytest

from flowrunner.logs import LineWriter
from security.canaries import PLAIN, leaks
from support.server import Server

# A node type as somebody might write it: the secret is in its parameters, in variables of its own,
# and in those of whatever it calls, when it fails.
CRASHING: Final = """
import json
import os
from flowrunner.cli.main import main
from flowrunner.nodes.transform import Transform

async def run(self, params, context):
    header = f"Bearer {params.value}"
    if "cut the log" in params.value:
        reading, writing = os.pipe()
        os.dup2(writing, 2)
        os.close(reading)
    if "choke" in params.value:
        raise ValueError(f"cannot digest {params.value}")
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
        assert "in run" in crash["exception"]


def test_s26_what_an_exception_says_of_a_secret_is_hidden_in_the_log(tmp_path: Path) -> None:
    server = Server(tmp_path, program=("-c", CRASHING))
    try:
        account = server.start().admin().new_account()
        account.new_secret("PLAIN", PLAIN)
        ended = account.run_to_end("nodes:\n  a: {type: transform, params: {value: 'choke on ${secrets.PLAIN}'}}\n")
    finally:
        server.stop()

    assert ended["status"] == "failed"
    assert "cannot digest choke on ***" in server.log
    assert leaks({"log": server.log}, (PLAIN,)) == []


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_what_libraries_tell_is_an_event_on_a_line_of_its_own(log_format: Literal["json", "text"]) -> None:
    program = (
        "import logging; from flowrunner.logs import configure_logging; from flowrunner.settings import Settings\n"
        f"configure_logging(Settings(log_format={log_format!r}))\n"
        "logging.getLogger('library').warning('two\\nlines and \\x1b[31m')\n"
        "logging.getLogger('library').info('of no interest')\n"
    )
    (line,) = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    ).stderr.splitlines()

    if log_format == "json":
        event = json.loads(line)
        assert (event["event"], event["logger"], event["level"]) == (
            "two\\nlines and \\x1b[31m", "library", "warning",
        )  # fmt: skip
    else:
        assert all(part in line for part in ("two\\nlines and \\x1b[31m", "library", "warning"))


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_s47_texts_of_others_write_no_line_and_set_no_terminal(log_format: Literal["json", "text"]) -> None:
    # None has a blank or a quotation mark, which have the whole text quoted.
    forged = [f"a{control}2026-01-01T00:00:00Z[info]forged" for control in "\n\r\x0b\x1b\x85\x9b\u2028\u202e\ufeff"]
    program = (
        "import structlog\n"
        "from flowrunner.logs import configure_logging; from flowrunner.settings import Settings\n"
        f"configure_logging(Settings(log_format={log_format!r}))\n"
        f"for text in {forged!a}:\n"
        "    structlog.get_logger().warning('sign_on.failed', reason=text)\n"
        "    try:\n"
        "        raise ValueError(text)\n"
        "    except ValueError:\n"
        "        structlog.get_logger().exception('request.crashed')\n"
    )
    written = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=True)
    log = written.stderr.decode()

    assert log.count("sign_on.failed") == log.count("request.crashed") == len(forged)
    assert all(c.isprintable() or c == "\n" for c in log)
    assert [line for line in log.splitlines() if line.startswith("2026-01-01")] == []


def test_a_log_that_nobody_reads_any_more_stops_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path, program=("-c", CRASHING))
    try:
        account = server.start().admin().new_account()
        ended = account.run_to_end("nodes:\n  a: {type: transform, params: {value: cut the log and choke}}\n")
        server.terminate()
        code = server.wait()
    finally:
        server.stop()

    assert ended["status"] == "failed"
    assert code == 0


def test_lines_are_written_again_after_a_time_in_which_none_could_be(tmp_path: Path) -> None:
    dropped: list[int] = []
    reading, writing = os.pipe()
    log = LineWriter(writing, dropped.append, most=100)
    try:
        os.close(reading)
        # Several times as much as may wait, each line after the one before has failed.
        for _ in range(10):
            log.write("a line that cannot be written\n")
            log.close()
        with (tmp_path / "log").open("wb") as file:
            os.dup2(file.fileno(), writing)
        log.write("a line that can\n")
        log.close()
    finally:
        os.close(writing)

    assert (tmp_path / "log").read_text() == "a line that can\n"
    assert dropped == []
