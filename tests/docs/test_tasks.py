"""The tasks of a day: each command runs as it is written, and prints what the page says."""

import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Final

import pytest

from docs.pages import DOCS, blocks
from support.client import Client
from support.preloaded import forked_command
from support.receiver import Receiver
from support.server import clean_environment
from support.waiting import PATIENCE_SECONDS

PAGE: Final = DOCS / "tasks.md"
PROGRAMS: Final = ("bash", "git")
_BLOCK: Final = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(any(shutil.which(program) is None for program in PROGRAMS), reason=f"needs {', '.join(PROGRAMS)}")
def test_every_task_is_done_as_written(account: Client, receiver: Receiver, tmp_path: Path) -> None:
    made = account.post("/api/v1/tokens", {"name": "tasks", "scopes": ["read", "run", "write"]}).json
    replaced = {
        "http://127.0.0.1:8080": account.url,
        "fr_pat_…": made["token"],
        "http://127.0.0.1:9000": receiver.url,
    }
    text = PAGE.read_text()
    for written, here in replaced.items():
        assert written in text
        text = text.replace(written, here)
    first, *rest = _BLOCK.findall(text)
    commands, printed = [block for block in rest if block[0] == "sh"], [block for block in rest if block[0] == "text"]
    assert len(commands) == len(printed) == text.count("\n## ") == 14

    # Separated, so that a difference is reported with its task.
    script = "set -euo pipefail\n" + first[1] + "\n".join(f"{text}\necho ----" for _, text in commands)
    command = forked_command()
    path = os.pathsep.join([str(command.path.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, pass_fds=[command.descriptor],
        env=clean_environment(HOME=str(tmp_path), PATH=path),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip

    seen = done.stdout.split("----\n")
    assert [one for one in seen if one] == [text for _, text in printed], done.stderr
    assert done.returncode == 0


def test_the_other_server_of_the_page_answers_what_the_tasks_expect(tmp_path: Path) -> None:
    [program] = blocks(PAGE, "python")
    own_port = '("127.0.0.1", 9000), Other).serve_forever()'
    assert own_port in program
    # A free port, which it prints.
    free_port = (
        'server = HTTPServer(("127.0.0.1", 0), Other)\nprint(server.server_port, flush=True)\nserver.serve_forever()\n'
    )
    (tmp_path / "other.py").write_text(program.replace(f"HTTPServer({own_port}\n", free_port))
    process = subprocess.Popen(
        [sys.executable, "other.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )  # fmt: skip
    with process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            answers = []
            for method, path, body in (("GET", "/ok", None), ("POST", "/ok", b"{}"), ("GET", "/status/404", None)):
                with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)) as connection:
                    connection.request(method, path, body)
                    answers.append(connection.getresponse().status)
        finally:
            process.kill()

    assert answers == [200, 200, 404]
