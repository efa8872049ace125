"""Moves of flows in processes that are killed at every commit."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from flowrunner.domain.limits import UNLIMITED
from flowrunner.storage import flow_moves
from flowrunner.storage.flow_moves import SqlFlowMoves
from flowrunner.storage.journal import SqlJournal
from security.rotations import forked
from support.databases import MARA, OMAR, add_flows, new_database_file, open_database, rows_of
from support.invariants import check_database

from .test_flow_moves import MOVED, Moves

PLACES = "SELECT workspace_id, count(*) FROM executions WHERE flow_id = 'f' GROUP BY workspace_id ORDER BY 1"


async def _set_up(path: Path) -> None:
    database = open_database(path)
    try:
        await Moves(database, SqlJournal(database)).set_up(executions=7, revisions=4)
    finally:
        await database.close()


async def _move(path: Path, *, is_begun: bool, dies_at: int | None) -> None:
    """Move the flow, or go on with it; end at a commit, as if killed."""
    left = dies_at or 0

    def on_commit(_: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    database = open_database(path, on_commit=on_commit)
    try:
        moves = SqlFlowMoves(database)
        if not is_begun:
            await moves.begin(MARA, MOVED, OMAR, limits=UNLIMITED)
        while await moves.advance(MOVED):
            pass
    finally:
        await database.close()


def test_a_move_that_is_killed_at_any_commit_loses_nothing_and_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_moves, "_EXECUTIONS_AT_ONCE", 2)
    monkeypatch.setattr(flow_moves, "_REVISION_BYTES_AT_ONCE", 1)
    killed, dies_at = 0, 1
    while True:
        path = new_database_file(tmp_path / f"{dies_at}.db")
        add_flows(path)
        asyncio.run(_set_up(path))

        status = forked(lambda at=dies_at, path=path: asyncio.run(_move(path, is_begun=False, dies_at=at)))  # type: ignore[misc]
        if status == 0:
            break
        assert status == -signal.SIGKILL
        killed += 1
        assert sum(count for _, count in rows_of(path, PLACES)) == 7
        assert check_database(path) == []

        is_begun = rows_of(path, "SELECT workspace_id FROM flows WHERE id = 'f'") == [(OMAR,)]
        asyncio.run(_move(path, is_begun=is_begun, dies_at=None))
        assert rows_of(path, PLACES) == [(OMAR, 7)]
        assert rows_of(path, "SELECT DISTINCT workspace_id FROM revisions WHERE flow_id = 'f'") == [(OMAR,)]
        assert rows_of(path, "SELECT moving_from FROM flows WHERE id = 'f'") == [(None,)]
        assert check_database(path) == []
        dies_at += 1

    assert killed >= 4
