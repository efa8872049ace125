"""A program that changes secrets in processes that are killed around the audit log. Run with a directory, a number
of kills, and a seed.

What is stored must always be what the entries of the log say: neither an act without its entry, nor an entry
without its act.
"""

import asyncio
import itertools
import json
import os
import random
import signal
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from flowrunner.bootstrap.data import open_data
from flowrunner.clock import SystemClock
from flowrunner.domain.account import Account, Caller, Session
from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.values import AccountId, SessionId
from flowrunner.metrics import Metrics
from flowrunner.services.secrets import Secrets
from flowrunner.settings import Settings
from flowrunner.storage import database as database_module
from flowrunner.storage.accounts import SqlAccounts
from flowrunner.storage.audit_chain import add_to_chain
from flowrunner.storage.sqlite.audit import check_chain_of
from flowrunner.storage.sqlite.database import SqliteDatabase
from flowrunner.storage.sqlite.transaction import finish
from flowrunner.storage.transaction import Transaction
from security.rotations import forked

OWNER: Final = AccountId("account-owner")
MOMENTS: Final = ("before the entry", "after the entry", "before the commit", "after the commit")
_FIXED: Final = datetime(2027, 1, 1, tzinfo=UTC)


def plant(moment: str, number: int) -> None:
    """Have this process killed at a moment, the ``number``-th time that it comes."""
    times = itertools.count(1)

    def around(function: Callable[..., Any], before: str, after: str) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            turn = next(times) if moment in (before, after) else 0
            if moment == before and turn == number:
                os.kill(os.getpid(), signal.SIGKILL)
            result = function(*args, **options)
            if moment == after and turn == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    add = around(lambda tx, entries: finish(add_to_chain(tx, entries)), "before the entry", "after the entry")

    async def add_or_end(tx: Transaction, entries: Iterable[AuditEntry]) -> None:
        # On SQLite nothing in a transaction waits, so it can be finished here and now.
        add(tx, entries)

    database_module.add_to_chain = add_or_end  # type: ignore[attr-defined] # planted where it is called
    SqliteDatabase._commit = around(SqliteDatabase._commit, "before the commit", "after the commit")  # type: ignore[method-assign]


async def work(data_dir: Path, seed: int) -> None:
    """Set and delete secrets, several at once, until killed."""
    draw = random.Random(seed)
    async with open_data(Settings(data_dir=data_dir), clock=SystemClock(), metrics=Metrics()) as stored:
        accounts = SqlAccounts(stored.database)
        if not await accounts.any():
            owner = Account(
                id=OWNER, name="O", email="o@example.com", role="admin", created_at=_FIXED, updated_at=_FIXED
            )
            await accounts.create(owner, password_hash="x")
        secrets = Secrets(stored.secrets, stored.vault, SystemClock())
        caller = Caller(account_id=OWNER, role="admin", credential=Session(SessionId("s"), _FIXED), expires_at=_FIXED)

        async def one() -> None:
            key = f"KEY_{draw.randrange(20)}"
            if draw.random() < 0.6:
                await secrets.set(caller, key, f"a value to keep {draw.random()}")
            elif key in {secret.key for secret in await stored.secrets.list(caller.workspace_id)}:
                await asyncio.gather(secrets.delete(caller, key), return_exceptions=True)

        for _ in range(20):
            await asyncio.gather(*(one() for _ in range(draw.randrange(1, 5))))


def check(path: Path) -> Counter[str]:
    """Raises: AssertionError if the log and the tables tell different things."""
    report = check_chain_of(path)
    assert report.broken is None, report.broken
    with closing(sqlite3.connect(path)) as connection:
        told = connection.execute(
            "SELECT action, object_id FROM audit WHERE object_kind = 'secret' ORDER BY seq"
        ).fetchall()
        stored = {key for (key,) in connection.execute("SELECT key FROM secrets")}
    there: set[str] = set()
    for action, key in told:
        assert (action == "secret.created") == (key not in there), (action, key)
        (there.discard if action == "secret.deleted" else there.add)(key)
    assert there == stored, there ^ stored
    return Counter(action for action, _ in told)


def main(directory: Path, kills: int, seed: int) -> None:
    data_dir = directory / "data"
    deaths: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for attempt in itertools.count():
        draw = random.Random(seed + attempt)
        moment, number = draw.choice(MOMENTS), draw.randrange(2, 15)

        def run(moment: str = moment, number: int = number, attempt: int = attempt) -> None:
            plant(moment, number)
            asyncio.run(work(data_dir, seed + attempt))

        status = forked(run)
        assert status in (0, -signal.SIGKILL), (status, seed + attempt)
        try:
            told = check(data_dir / "flowrunner.db")
        except AssertionError as error:
            raise AssertionError(f"seed {seed + attempt}, killed {moment}: {error}") from error
        if status != 0:
            deaths[moment] += 1
        if deaths.total() == kills:
            break
    print(json.dumps({"deaths": deaths, "told": told}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
