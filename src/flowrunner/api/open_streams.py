"""The open WebSockets and streamed answers, their limits, and their end with the session."""

import asyncio
import contextlib
from collections.abc import Collection, Coroutine, Hashable, Iterator, Sequence
from typing import Any, Final

from flowrunner.domain.account import Caller
from flowrunner.domain.errors import Unavailable
from flowrunner.domain.limits import check_account_sockets, check_all_sockets
from flowrunner.domain.values import AccountId, WorkspaceId
from flowrunner.ports.clock import Clock
from flowrunner.services.bundle import Services
from flowrunner.tasks import begin, cancel_all

_CLOSE_SECONDS: Final = 2.0

NORMAL_CLOSE: Final = 1000
GOING_AWAY: Final = 1012
TRY_AGAIN: Final = 1013
SESSION_ENDED: Final = 4401


class OpenStream:
    """A WebSocket or an answer that goes on, with the caller that it is for.

    Attributes:
        family: The id of its login for `Sessions.present`; None if that has not been read.
        workspaces: The workspaces that it shows something of.
        since: `KnownCallers.changes` when the caller was authenticated; None if the caller has to be looked up again.
        ended: It is done when the server has ended the stream.
        close_code: The reason of that, as a close code of WebSockets.
    """

    def __init__(
        self, caller: Caller, family: str | None, workspaces: frozenset[WorkspaceId], since: int | None
    ) -> None:
        self.caller = caller
        self.family = family
        self.workspaces = workspaces
        self.since = since
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.close_code = NORMAL_CLOSE

    def end(self, code: int) -> None:
        self.close_code = code
        if not self.ended.done():
            self.ended.set_result(None)


class OpenStreams:
    """The open streams of this process.

    Args:
        most: The maximum number of streams over all accounts.
        most_of_account: The maximum of one account; None for no limit.

    Attributes:
        closed: Set once the program ends, or another server has become active: no end of an execution is told any more.
    """

    def __init__(self, services: Services, clock: Clock, *, most: int, most_of_account: int | None) -> None:
        self._services = services
        self._clock = clock
        self._most = most
        self._most_of_account = most_of_account
        self._open: dict[AccountId, set[OpenStream]] = {}
        self._all_closed = asyncio.Event()
        self._all_closed.set()
        self.closed = asyncio.Event()

    @property
    def count(self) -> int:
        return sum(map(len, self._open.values()))

    async def admit(
        self, caller: Caller, workspaces: Collection[WorkspaceId] = (), *, since: int | None = None
    ) -> OpenStream:
        """Count a new stream of the caller; `leave` must follow.

        Args:
            workspaces: The workspaces that it shows something of, if not of the one that the request acts in.
            since: `KnownCallers.changes` when the caller was authenticated. While it stays the same, nobody has lost
                access.

        Raises: Unauthorized, TooManyRequests; Unavailable after `close`.
        """
        # Read later if the caller has lost access: most requests that wait have ended by then.
        family = await self._services.sessions.family_of(caller) if since is None else None
        if self.closed.is_set():
            # Its program ends, and nothing would reach it any more.
            raise Unavailable("The server is stopping or another one has become active: connect again")
        # Checked last, because other streams may open during an await. From here on this one counts.
        check_account_sockets(len(self._open.get(caller.account_id, ())), self._most_of_account)
        check_all_sockets(self.count, self._most)
        stream = OpenStream(caller, family, frozenset(workspaces or [caller.workspace_id]), since)
        self._open.setdefault(caller.account_id, set()).add(stream)
        self._all_closed.clear()
        return stream

    def leave(self, stream: OpenStream) -> None:
        streams = self._open[stream.caller.account_id]
        streams.discard(stream)
        if not streams:
            del self._open[stream.caller.account_id]
        if not self._open:
            self._all_closed.set()

    @contextlib.contextmanager
    def until_left(self, stream: OpenStream) -> Iterator[None]:
        try:
            yield
        finally:
            self.leave(stream)

    async def serve(
        self, stream: OpenStream, sending: Coroutine[Any, Any, int], receiving: Coroutine[Any, Any, None]
    ) -> int | None:
        """Run ``sending`` until it returns, the client is gone, the session ends, or the server stops.

        Args:
            sending: Returns a close code.
            receiving: Returns when the client is gone.

        Returns:
            The close code; None if the client is gone.
        """
        # The session may have ended before this stream was counted.
        if stream.since != self._services.known_callers.changes:
            try:
                await self.end_unless_alive(stream)
            except BaseException as error:
                # Neither has begun.
                sending.close()
                receiving.close()
                if isinstance(error, Unavailable):
                    return TRY_AGAIN
                raise
        seconds = (stream.caller.expires_at - self._clock.now()).total_seconds()
        sent, gone = begin(sending), begin(receiving)
        try:
            await asyncio.wait((sent, gone, stream.ended), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if sent.done():
                return sent.result()
            if gone.done():
                return None
            return stream.close_code if stream.ended.done() else SESSION_ENDED
        finally:
            await cancel_all(*[task for task in (sent, gone) if not task.done()])

    async def end_sessions(self, account_id: AccountId) -> None:
        """End the account's streams whose session has ended; all of them if that cannot be read."""
        await self._end_unless_known_alive(self._of_account(account_id))

    async def revalidate_workspace(self, id: WorkspaceId) -> None:
        """End the streams of a workspace that their callers may no longer read; all of them if that is not known."""
        await self._end_unless_known_alive(
            [stream for streams in self._open.values() for stream in streams if id in stream.workspaces]
        )

    async def revalidate_sessions(self) -> None:
        """End every stream whose session has ended in any process."""
        for account_id in list(self._open):
            await self._end_unless_alive(self._of_account(account_id))

    def _of_account(self, account_id: AccountId) -> Sequence[OpenStream]:
        return list(self._open.get(account_id, ()))

    async def end_unless_alive(self, stream: OpenStream) -> None:
        await self._end_unless_alive([stream])

    async def _end_unless_known_alive(self, streams: Sequence[OpenStream]) -> None:
        """End streams after a change of their access, which is made whether or not the sessions can be read."""
        try:
            await self._end_unless_alive(streams)
        except Unavailable:
            for stream in streams:
                stream.end(TRY_AGAIN)

    async def _end_unless_alive(self, streams: Sequence[OpenStream]) -> None:
        """Look up each session once: an account may have a thousand streams, and a look may not suspend."""
        present: dict[Hashable, Caller | None] = {}
        for stream in streams:
            login = stream.family or stream.caller.credential
            if login not in present:
                if present:
                    await asyncio.sleep(0)
                family = stream.family or await self._services.sessions.login_of(stream.caller)
                present[login] = await self._services.sessions.present(family)
            caller = present[login]
            if caller is None or not stream.workspaces.issubset(caller.admitted_to):
                stream.end(SESSION_ENDED)

    def end_all(self, code: int) -> None:
        """End all open streams with the close code."""
        for stream in [stream for streams in self._open.values() for stream in streams]:
            stream.end(code)

    async def close(self) -> None:
        """End all streams because their program ends, and admit no further ones."""
        self.closed.set()
        self.end_all(GOING_AWAY)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._all_closed.wait()
