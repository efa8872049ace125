"""The ownership of a database, whatever happens to its session: its silence, its loss and its lasting."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.storage.postgres import ownership
from flowrunner.storage.postgres.ownership import PostgresOwnership

SILENCE_MS: Final = 3000
# From the shortest silence to the longest.
PATIENCE: Final = (1, 2, 4, 8)
STEADY_SECONDS: Final = 600.0
SILENT_SECONDS: Final = 10.0


class Server:
    """A database server with one lock, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.sessions: list[Session] = []
        self.is_taken_by_another = False
        self.is_away = False

    async def connect(self, url: str, **options: Any) -> "Session":
        if self.is_away:
            raise OSError("refused")
        self.sessions.append(Session(self, options["server_settings"]["idle_session_timeout"]))
        return self.sessions[-1]

    def monotonic(self) -> float:
        return self.now


class Session:
    """A connection, which answers as the database does."""

    def __init__(self, server: Server, silence: str) -> None:
        self._server = server
        self.silence = silence
        self.has_lock = self.is_over = False

    async def fetchval(self, statement: str) -> Any:
        if self._server.is_away:
            raise OSError("reset")
        match statement:
            case ownership.TRY:
                self.has_lock = not self._server.is_taken_by_another
                return self.has_lock
            case ownership.IS_SHARED:
                return False
            case ownership.HAS_EPOCH:
                return True
            case _:
                return 7

    async def execute(self, statement: str, silence: str) -> None:
        assert statement == ownership.SET_SILENCE
        self.silence = silence

    def is_closed(self) -> bool:
        return self.is_over

    def terminate(self) -> None:
        self.is_over, self.has_lock = True, False


Act = tuple[str, int]
ACTS: Final = st.lists(
    st.tuples(st.sampled_from(("look", "look", "lose", "take", "free", "wait")), st.integers(0, 700)), max_size=40
)


async def play(server: Server, acts: Sequence[Act]) -> None:
    owned = PostgresOwnership("postgresql://here")
    level, answered_at, taken_at = 0, 0.0, 0.0
    for act, seconds in acts:
        was_held = owned.is_held
        match act:
            case "wait":
                server.now += seconds
            case "take":
                server.is_taken_by_another = not was_held
            case "free":
                server.is_taken_by_another = False
            case "lose":
                server.is_away = True
                with pytest.raises(OSError, match="re"):
                    await owned.look()
                server.is_away = False
                if was_held and server.now - taken_at < STEADY_SECONDS:
                    level = min(level + 1, len(PATIENCE) - 1)
                assert not owned.is_held
            case _:
                await owned.look()
                answered_at = server.now
                if not was_held:
                    taken_at = server.now
                elif server.now - taken_at > STEADY_SECONDS:
                    level = 0
                assert owned.is_held == (was_held or not server.is_taken_by_another)
                assert owned.epoch == 7
        open_ones = [session for session in server.sessions if not session.is_over]
        assert len(open_ones) <= 1
        assert owned.is_held == any(session.has_lock for session in open_ones)
        assert owned.is_silent == (server.now - answered_at > SILENT_SECONDS)
        for session in open_ones:
            assert session.silence == f"{SILENCE_MS * PATIENCE[level]}"


@given(ACTS)
def test_a_process_that_loses_the_lock_soon_may_be_silent_for_longer_up_to_a_limit(acts: list[Act]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        server = Server()
        patch.setattr(asyncpg, "connect", server.connect)
        # Not the clock of the event loop.
        patch.setattr(ownership, "time", server)
        asyncio.run(play(server, [("look", 0), *acts]))
