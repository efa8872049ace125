"""A program that rotates keys in processes that are killed, each at another step.

    python rotations.py DIRECTORY FIRST EVERY    # the steps FIRST, FIRST + EVERY, and so on

Every write of the storage and every operation on a file is a step; a process dies after it, which is before the next
one.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from flowrunner.bootstrap.data import open_data
from flowrunner.bootstrap.lifecycle import open_program
from flowrunner.clock import SystemClock
from flowrunner.domain.account import Caller
from flowrunner.domain.values import personal_workspace
from flowrunner.metrics import Metrics
from flowrunner.ports.keys import KeyKind
from flowrunner.settings import Settings
from flowrunner.storage.keys import SqlKeyRotations
from flowrunner.storage.sqlite.database import SqliteDatabase
from support.passwords import hash_quickly

KINDS: Final[tuple[KeyKind, ...]] = ("master", "data", "signing")
ACCOUNTS: Final = 2
SECRETS: Final = 2
FILE_OPERATIONS: Final = ("open", "fdopen", "fsync", "rename", "unlink")


class Fate:
    """Kills the process at its n-th step; 0 never."""

    def __init__(self, dies_at: int) -> None:
        self.dies_at = dies_at
        self.steps: list[str] = []

    def step(self, name: str) -> None:
        self.steps.append(name)
        if len(self.steps) == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def plant(self) -> None:
        def with_steps(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                result = function(*args, **options)
                self.step(name)
                return result

            return call

        for name in FILE_OPERATIONS:
            setattr(os, name, with_steps(name, getattr(os, name)))
        SqliteDatabase._commit = with_steps("commit", SqliteDatabase._commit)  # type: ignore[method-assign]


def settings_at(data_dir: Path) -> Settings:
    return Settings(data_dir=data_dir)


async def prepare(data_dir: Path) -> dict[str, Any]:
    """Accounts with secrets and an open session each."""
    known: dict[str, Any] = {"tokens": [], "secrets": {}}
    async with open_program(settings_at(data_dir)) as program:
        for n in range(ACCOUNTS):
            account = await program.services.accounts.create(
                name="N", email=f"{n}@example.com", password="five-blue-otters-swim", role="user"
            )
            token = await program.services.sessions.login(account.email, "five-blue-otters-swim", address="127.0.0.1")
            known["tokens"].append(token.token)
            values = {f"KEY_{k}": f"the value {k} of account {n}" for k in range(SECRETS)}
            for key, value in values.items():
                await program.vault.set(personal_workspace(account.id), key, value, at=account.created_at)
            known["secrets"][account.id] = values
    return known


async def rotate(data_dir: Path) -> None:
    async with open_data(settings_at(data_dir), clock=SystemClock(), metrics=Metrics()) as stored:
        await stored.keys.request(None, KINDS)
        await stored.keys.advance()


async def check(data_dir: Path, known: dict[str, Any]) -> None:
    """Everything opens as it is found, and again when what was begun is finished."""
    async with open_program(settings_at(data_dir)) as program:
        rotations = SqlKeyRotations(program.database)
        for finishes in (False, True):
            if finishes:
                await program.services.keys.advance()
                assert [r.kind for r in await rotations.under_way()] in ([], ["signing"])
                assert not list((data_dir / "keys").glob("master.*.key")), "the earlier master key is of no use"
            for id, values in known["secrets"].items():
                assert await program.vault.reveal(id, list(values)) == values, "a secret does not open"
            for token in known["tokens"]:
                caller: Caller = await program.services.sessions.authenticate(token)
                assert caller.account_id in known["secrets"]
                program.services.known_callers.forget(token)


def forked(run: Callable[[], None]) -> int:
    """Run in a process of its own; gives its status."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            run()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(directory: Path, first: int, every: int) -> None:
    hash_quickly()
    known_file = directory / "known.json"
    prepared = directory / "prepared"

    def make() -> None:
        known_file.write_text(json.dumps(asyncio.run(prepare(prepared))))

    assert forked(make) == 0
    known = json.loads(known_file.read_text())
    for kills, dies_at in enumerate(range(first, 1000, every)):
        data_dir = directory / "killed"
        shutil.rmtree(data_dir, ignore_errors=True)
        shutil.copytree(prepared, data_dir)

        def die(dies_at: int = dies_at, data_dir: Path = data_dir) -> None:
            fate = Fate(dies_at)
            fate.plant()
            asyncio.run(rotate(data_dir))
            (directory / "steps").write_text("\n".join(fate.steps))

        status = forked(die)
        assert status in (0, -signal.SIGKILL), f"step {dies_at}: {status}"
        assert forked(lambda data_dir=data_dir: asyncio.run(check(data_dir, known))) == 0, f"killed at step {dies_at}"  # type: ignore[misc]
        if status == 0:
            print(json.dumps({"kills": kills, "steps": (directory / "steps").read_text().splitlines()}))
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
