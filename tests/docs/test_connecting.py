"""The server for commands on the page about connecting, asked as flows ask it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import pytest

from docs.pages import DOCS, blocks
from flowrunner.engine.recorder import MAX_ERROR_BYTES
from flowrunner.security.bounded_answers import MAX_ANSWER_BYTES

PAGE: Final = DOCS / "connecting.md"
TOKEN: Final = "a-token-of-the-commands"
# As few characters as need the most bytes: four as they are, and six escaped.
LOUD: Final = (
    "import sys; [print('\\U0001f600\\x01' * 500_000, file=to) for to in (sys.stdout, sys.stderr)]; sys.exit({})"
)
COMMANDS: Final = f"""COMMANDS = {{
    "count": ["sh", "-c", "echo run >> runs; cat"],
    "fail": ["sh", "-c", "echo run >> runs; echo no space left >&2; exit 3"],
    "missing": ["/no/such/program"],
    "loud": {[sys.executable, "-X", "utf8", "-c", LOUD.format(0)]!r},
    "loud-fail": {[sys.executable, "-X", "utf8", "-c", LOUD.format(3)]!r},
}}
"""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    [program] = [text for text in blocks(PAGE, "python") if "COMMANDS_TOKEN" in text]
    before, _, rest = program.partition("COMMANDS = {\n")
    _, _, after = rest.partition("}\n")
    own_port = 'ThreadingHTTPServer(("127.0.0.1", 9009), Commands).serve_forever()'
    assert after
    assert own_port in after
    free_port = (
        's = ThreadingHTTPServer(("127.0.0.1", 0), Commands); print(s.server_port, flush=True); s.serve_forever()'
    )
    (tmp_path / "commands.py").write_text(before + COMMANDS + after.replace(own_port, free_port))
    process = subprocess.Popen(
        [sys.executable, "commands.py"], cwd=tmp_path, env={**os.environ, "COMMANDS_TOKEN": TOKEN},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    yield int(process.stdout.readline())
    process.kill()
    process.communicate()


def post(port: int, path: str, *, key: str, token: str = TOKEN) -> tuple[int, dict[str, object]]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", path, b'{"day": 7}', {"Authorization": f"Bearer {token}", "Idempotency-Key": key})
    answer = connection.getresponse()
    status, body = answer.status, answer.read()
    connection.close()
    assert len(body) <= (MAX_ANSWER_BYTES if status == 200 else MAX_ERROR_BYTES)
    return status, json.loads(body)


def test_a_command_reads_the_body_and_runs_once_for_each_key(port: int, tmp_path: Path) -> None:
    answers = [post(port, "/count", key=key) for key in ("a", "a", "b")]

    assert answers == [(200, {"exit_code": 0, "stdout": '{"day": 7}', "stderr": ""})] * 3
    assert (tmp_path / "runs").read_text() == "run\n" * 2


def test_a_command_that_fails_runs_again_when_it_is_retried(port: int, tmp_path: Path) -> None:
    answers = [post(port, "/fail", key="a") for _ in range(2)]

    assert answers == [(500, {"exit_code": 3, "stdout": "", "stderr": "no space left\n"})] * 2
    assert (tmp_path / "runs").read_text() == "run\n" * 2


def test_nothing_runs_without_the_token_or_beside_the_list(port: int, tmp_path: Path) -> None:
    assert post(port, "/count", key="a", token="another")[0] == 401
    assert post(port, "/other", key="a")[0] == 404
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("token", "length", "status"),
    [
        ("another", "900000000", 401), ("another", "-1", 401), (TOKEN, "-1", 413), (TOKEN, "2097153", 413),
        (TOKEN, "x", 413), (TOKEN, "9" * 5000, 413),
    ],
)  # fmt: skip
def test_a_body_that_is_not_taken_is_refused_before_it_is_read(
    port: int, tmp_path: Path, token: str, length: str, status: int
) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("POST", "/count")
    connection.putheader("Authorization", f"Bearer {token}")
    connection.putheader("Content-Length", length)
    connection.endheaders()

    assert connection.getresponse().status == status
    assert not (tmp_path / "runs").exists()
    connection.close()


def test_a_program_that_does_not_start_is_told(port: int) -> None:
    status, body = post(port, "/missing", key="a")

    assert (status, body["exit_code"]) == (500, None)
    assert "No such file or directory: '/no/such/program'" in str(body["stderr"])


def test_a_flow_can_take_what_a_command_prints_however_much_it_is(port: int) -> None:
    for path, status, characters in (("/loud", 200, 150_000), ("/loud-fail", 500, 20_000)):
        answered, body = post(port, path, key=path)

        assert answered == status
        assert [len(str(body[name])) for name in ("stdout", "stderr")] == [characters, 10_000]
        assert str(body["stderr"]).endswith("\U0001f600\x01\n")
