"""A server that cannot write says that it is not ready, and is again when it can."""

import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Final

import pytest

from api.shapes import SMALLEST, assert_error
from flowrunner.ports.dispatch import CANCEL_UNKNOWN, OUTCOME_UNKNOWN
from flowrunner.storage.sqlite.database import SqliteDatabase
from support.asgi import call, program_at
from support.client import Client
from support.databases import rows_of
from support.invariants import check_accepted, check_database
from support.server import Server
from support.waiting import wait_for

# A program that lets nobody wait for an answer for as long as the usual one does.
ANSWERS_SOON: Final = (
    "-c",
    "import flowrunner.dispatch.local as local; local._ANSWER_SECONDS = 2.0; "
    "from flowrunner.cli.main import main; main()",
)
NOT_WRITABLE: Final = "The server is not ready: the database cannot be written"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, which can be filled without harm."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount a file system")
    yield directory
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def ready_in(client: Client, seconds: float, *, status: int) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if client.get("/readyz").status == status:
            return True
        time.sleep(0.1)
    return False


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while True:
            filler.write(bytes(4096))


def run_until_refused(account: Client, flow: str, *, size: int) -> None:
    """Use up what room the database's log has left."""
    for _ in range(500):
        if account.post(f"/api/v1/flows/{flow}/run", {"input": {"text": "x" * size}}).status == 503:
            return
    pytest.fail("the disk is not full")


def test_a_full_disk_makes_the_server_not_ready_until_there_is_room(small_disk: Path) -> None:
    server = Server(small_disk)
    try:
        client = server.start().client()
        account = server.admin()
        flow = account.new_flow(SMALLEST)
        fill(small_disk)
        run_until_refused(account, flow, size=20_000)
        for _ in range(50):
            # Something smaller may still have found room in between, and writing works then.
            account.post(f"/api/v1/flows/{flow}/run", {"input": {"text": "x" * 20_000}})
            readiness = client.get("/readyz")
            if readiness.status == 503:
                break
        assert_error(readiness, 503, NOT_WRITABLE)
        assert client.get("/healthz").status == 200

        (small_disk / "filler").unlink()
        assert ready_in(client, 60, status=200)
        assert account.run_to_end(SMALLEST)["status"] == "completed"
    finally:
        server.stop()


def test_who_tells_an_execution_something_while_the_disk_is_full_is_answered_in_time(small_disk: Path) -> None:
    server = Server(small_disk, program=ANSWERS_SOON)
    try:
        account = server.start().admin()
        smallest = account.new_flow(SMALLEST)
        waiting = account.run(account.new_flow("nodes: {w: {type: wait, params: {key: go}}}"))
        asking = account.run(account.new_flow("nodes: {ask: {type: approval, params: {prompt: Well}}}"))
        delayed = account.run(account.new_flow("nodes: {d: {type: delay, params: {duration: 1h}}}"))
        account.waiting_at(waiting, "w")
        account.waiting_at(asking, "ask")
        fill(small_disk)
        for size in (20_000, 2_000, 10):
            run_until_refused(account, smallest, size=size)

        asked = {
            waiting: account.post(f"/api/v1/executions/{waiting}/signals/go", {"payload": "x" * 20_000}),
            asking: account.post(f"/api/v1/executions/{asking}/approvals/ask", {"approved": True}),
            delayed: account.delete(f"/api/v1/executions/{delayed}"),
        }
        for id, reply in asked.items():
            assert_error(reply, 503, CANCEL_UNKNOWN if id == delayed else OUTCOME_UNKNOWN)

        (small_disk / "filler").unlink()
        # What was on its way to the disk gets there, as the answers say that it may.
        assert [account.ended(id)["status"] for id in asked] == ["completed", "completed", "cancelled"]
        recorded = "SELECT execution_id FROM events WHERE type = 'signal.received' ORDER BY execution_id"
        assert rows_of(server.place, recorded) == sorted([(waiting,), (asking,)])
    finally:
        server.stop()


@pytest.mark.parametrize("is_killed", [False, True], ids=["kept running", "killed while it is full"])
def test_nothing_that_was_acknowledged_is_lost_although_the_disk_fills_up_under_load(
    small_disk: Path, is_killed: bool
) -> None:
    """Writes of several clients are handed over together, and fail together."""
    server, is_over, accepted, answers = Server(small_disk), threading.Event(), list[str](), Counter[tuple[bool, int]]()
    is_full = False

    def run_again_and_again(account: Client, flow: str) -> None:
        while not is_over.is_set():
            with suppress(OSError, HTTPException):  # the server was killed
                reply = account.post(f"/api/v1/flows/{flow}/run", {"input": {"text": "x" * 2_000}})
                answers[is_full, reply.status] += 1
                if reply.status == 201:
                    accepted.append(reply.json["execution_id"])

    try:
        account = server.start().admin()
        flow = account.new_flow("nodes: {a: {type: delay, params: {duration: 10ms}, next: b}, b: {type: return}}")
        with ThreadPoolExecutor(6) as clients:
            for _ in range(6):
                clients.submit(run_again_and_again, account, flow)
            wait_for(lambda: len(accepted) > 50)
            fill(small_disk)
            wait_for(lambda: answers[False, 503] > 50)
            fill(small_disk)
            is_full = True
            wait_for(lambda: answers[True, 503] > 50)
            is_full = False
            if is_killed:
                server.kill()
            (small_disk / "filler").unlink()
            if not is_killed:
                before = len(accepted)
                wait_for(lambda: len(accepted) > before + 50)
            is_over.set()
        if is_killed:
            account = server.start().client(account.token)

        assert {account.ended(id, 60)["status"] for id in accepted} == {"completed"}
        assert {status for _, status in answers} == {201, 503}
        server.terminate()
        assert server.wait() == 0
        assert check_database(server.database) + check_accepted(server.database, accepted) == []
    finally:
        is_over.set()
        server.stop()


async def test_a_writer_that_has_ended_makes_the_server_not_ready(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        assert (await call(program.app, "GET", "/readyz")).status == 200

        assert isinstance(program.database, SqliteDatabase)
        program.database._writes.put(None)
        program.database._threads[0].join(10)

        assert_error(await call(program.app, "GET", "/readyz"), 503, NOT_WRITABLE)


async def test_asking_whether_the_server_is_ready_writes_seldom(tmp_path: Path) -> None:
    async with program_at(tmp_path / "data") as program:
        sizes: list[int] = []
        assert isinstance(program.database, SqliteDatabase)
        program.database._on_commit = sizes.append
        program.database._writability._last_commit = (0.0, False)

        for _ in range(100):
            assert (await call(program.app, "GET", "/readyz")).status == 200

    assert 1 <= len(sizes) <= 3
