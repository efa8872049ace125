"""The files that docs/life-of-an-execution.md names: a reader follows one execution through few of them."""

import asyncio
import json
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from docs.pages import DOCS, ROOT, first_words, section
from support.asgi import call, connect, program_at
from support.client import PASSWORD
from support.waiting import PATIENCE_SECONDS

PAGE: Final = DOCS / "life-of-an-execution.md"
EDGE: Final = "The request"
SOURCE: Final = ROOT / "src" / "flowrunner"
# It needs a socket, and the test calls the application itself.
WITHOUT_A_SOCKET: Final = {"api/http/protocol.py"}
# Its first step has a script, so it runs in a task, and its outcome comes back as a message.
FLOW: Final = """metadata: {name: greeting}
nodes:
  greet: {type: transform, params: {value: "Hello, ${flow.input.name.trim()}!"}, next: pause}
  pause: {type: delay, params: {duration: 1100ms}, next: done}
  done: {type: return, params: {value: "${nodes.greet.result}"}}
"""


def test_every_file_exists_and_is_named_once() -> None:
    files = named()

    assert [name for name in files if not (SOURCE / name).is_file()] == []
    assert len(files) == len(set(files))


def test_one_execution_is_followed_through_few_files() -> None:
    edge = [*first_words(section(PAGE, EDGE)), "api/live.py"]

    assert len(named()) <= 30
    assert len([name for name in named() if name not in edge]) <= 20
    assert {name for name in named() if name.startswith("api/")} <= set(edge)


async def test_one_execution_passes_through_every_file_that_is_named(tmp_path: Path) -> None:
    with files_that_run() as ran:
        async with program_at(tmp_path / "data") as program:
            await program.services.accounts.create_first(name="Ada", email="ada@example.com", password=PASSWORD)
            login = await program.services.sessions.login("ada@example.com", PASSWORD, address="127.0.0.1")

            async def ask(method: str, path: str, body: Any = None) -> Any:
                sent = b"" if body is None else json.dumps(body).encode()
                return (await call(program.app, method, f"/api/v1/{path}", token=login.token, body=sent)).json

            flow = await ask("POST", "flows", {"definition": FLOW})
            ran.clear()
            await ask("POST", "flows/unknown/run", {"input": {}})
            started = await ask("POST", f"flows/{flow['id']}/run", {"input": {"name": "Ada"}})
            path = f"executions/{started['execution_id']}"
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (execution := await ask("GET", path))["status"] == "running":  # noqa: ASYNC110 # seen by REST
                    await asyncio.sleep(0.05)
            await connect(program.app, f"/ws/{path}", token=login.token)

    assert execution["result"] == "Hello, Ada!"
    assert set(named()) - ran == WITHOUT_A_SOCKET
    assert len(ran) > 100, "as the page says"


@contextmanager
def files_that_run() -> Iterator[set[str]]:
    """Collect the files of the program with a function that is called or resumed on this or a new thread."""
    found: set[str] = set()
    start = f"{SOURCE}/"

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(start):
            found.add(frame.f_code.co_filename.removeprefix(start))

    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


def named() -> Sequence[str]:
    return [row for row in first_words(PAGE.read_text()) if row.endswith(".py")]
