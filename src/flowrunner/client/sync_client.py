"""The synchronous client. Written by `make client` from `async_client.py`."""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from flowrunner.client.answers import Answer, check, text_of
from flowrunner.client.calls import PAGE_SIZE, Call, entries_of, first_page, following_page, next_page
from flowrunner.client.core import (
    LARGEST_ANSWER_BYTES,
    LARGEST_ERROR_BYTES,
    LINES,
    SILENT_STREAM_SECONDS,
    ClientCore,
    check_seconds,
    execution_of,
    execution_request,
    rerun_request,
    run_request,
)
from flowrunner.client.errors import ApiError, ServerUnreachable, UnreadableAnswer
from flowrunner.client.following import EventPosition, Lines, Waiting
from flowrunner.client.operations import Sync
from flowrunner.client.requests import DEFAULT_URL, Query, Request, request
from flowrunner.client.retries import Attempts, Retries
from flowrunner.client.sync_transport import SyncTransport

if TYPE_CHECKING:
    from flowrunner.client.models import ExecutionDetail

T = TypeVar("T")


class Client(ClientCore[Sync]):
    """A client of one server, with the rights of one token. Threads may share it.

    Args:
        url: The address of the server, such as `https://flows.example.com`.
        token: An API token, or that of a login. Only this origin gets it.
        workspace: Id or slug of the workspace in which lists and creations act; the personal one by default.
        timeout: Seconds that one attempt of a request may take.
        retry_seconds: Seconds within which the attempts of a request may begin; 0 for one attempt. Only what is safe to
            repeat is repeated.
        ca_file: Certificates to trust instead of those of the system, as a PEM file.
        user_agent: The name of the program, for the lists of sessions.
    """

    is_async = False

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        *,
        workspace: str | None = None,
        timeout: float = 40.0,
        retry_seconds: float = 30.0,
        ca_file: str | None = None,
        user_agent: str | None = None,
    ) -> None:
        super().__init__(
            url, token, workspace=workspace, timeout=timeout, retry_seconds=retry_seconds, user_agent=user_agent
        )
        self._transport = SyncTransport(self._origin, connect_seconds=timeout, ca_file=ca_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept open. The client can be used again."""
        self._transport.close()

    # Any request

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        json: Any = None,
        content: bytes | str | None = None,
        content_type: str | None = None,
        headers: Mapping[str, str | None] | None = None,
        idempotency_key: str | bool | None = None,
        timeout: float | None = None,
    ) -> Answer:
        """Send a request, again where that is safe and may help, and return its answer.

        Args:
            path: Below `/api/v1`, unless it begins with `/api/`.
            query: Parameters; those that are None are left out.
            json: A value for the body.
            content: A body as it is, with its `content_type`.
            headers: Further headers; those that are None are left out.
            idempotency_key: A key of the caller's, or True for one made here. With a key, a POST is repeated where an
                answer was lost.
            timeout: Seconds that one attempt may take.

        Raises:
            ApiError: The server answered with an error.
            ServerUnreachable: There was no answer.
            UnreadableAnswer: The answer is none of FlowRunner's.
            ValueError: The request could not be sent as it is.
        """
        made = request(
            method, path, query=query, json=json, content=content, content_type=content_type, headers=headers,
            idempotency_key=idempotency_key,
        )  # fmt: skip
        if timeout is not None:
            check_seconds(timeout)
        return self._send(made, self._timeout if timeout is None else timeout)

    def get(self, path: str, **query: Any) -> Any:
        """Return the value that a GET answers with."""
        answer = self.request("GET", path, query=query)
        return answer.json()

    def entries(self, path: str, *, query: Query | None = None, most: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the entries of a list as they were sent, page by page, up to ``most``.

        Args:
            query: Filters, and `limit` for the size of the pages.
        """
        size = PAGE_SIZE if most is None else max(1, min(most, PAGE_SIZE))
        asked: Query | None = {**first_page(path, size), **(query or {})}
        count = 0
        while asked is not None:
            answer = self.request("GET", path, query=asked)
            page = answer.object()
            for entry in entries_of(page):
                if count == most:
                    return
                yield entry
                count += 1
            following = next_page(page)
            asked = None if following is None or count == most else following_page(asked, following)

    def download(self, path: str, file: str | Path, *, query: Query | None = None) -> None:
        """Write the body of an answer to a file, of any size. It is incomplete after an error."""
        made = self._authorized(request("GET", path, query=query, headers={"Accept": "*/*"}))
        with self._transport.stream(made, silent_seconds=self._timeout) as (answer, chunks):
            self._check_stream(answer, chunks)
            with Path(file).open("wb") as target:
                for chunk in chunks:
                    target.write(chunk)

    def perform(self, call: Call[T]) -> T:
        """Return the answer to a call of an operation."""
        return call.decode(self._send(call.request, self._timeout + call.seconds))

    def login(self, username: str, password: str) -> dict[str, Any]:
        """Log in, use the new token from now on, and return the answer, which has it."""
        answer = self.request("POST", "/auth/login", json={"username": username, "password": password})
        found = answer.object()
        try:
            self.use_token(text_of(found, "token"))
        except ValueError:
            raise UnreadableAnswer("The answer has a token with characters that no token has") from None
        return found

    # Executions

    def run(
        self,
        flow: str,
        input: Any = None,
        *,
        labels: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> "Run":
        """Start an execution.

        Args:
            flow: The name or the id of the flow.
            labels: Names and values by which lists find the execution.
            idempotency_key: What stands for this start in your own data, such as the number of an order: a second
                request with it starts nothing. Without one the client makes a key, for its own repeats.
        """
        return self._started(run_request(flow, input, labels, idempotency_key))

    def rerun(
        self,
        execution_id: str,
        *,
        from_: str | None = None,
        elements: Literal["failed"] | None = None,
        input: Any = None,
        labels: Mapping[str, str] | None = None,
        revision: int | str | None = None,
        idempotency_key: str | None = None,
    ) -> "Run":
        """Start an execution that repeats another one, completely or from a node. See `executions.rerun`."""
        body = {"from": from_, "elements": elements, "input": input, "labels": labels, "revision": revision}
        return self._started(rerun_request(execution_id, body, idempotency_key))

    def wait(self, execution_id: str, timeout: float | None = None, *, check: bool = True) -> "ExecutionDetail":
        """Return an execution once it has ended.

        Args:
            timeout: Seconds to wait at most; None waits indefinitely.
            check: Raise an error if it has not completed.

        Raises:
            ExecutionFailed: It failed, or it was cancelled.
            StillRunning: The time is up.
            ServerUnreachable: There was no answer, at most five seconds after the time is up.
        """
        waiting, made = Waiting(timeout, check=check, now=time.monotonic), execution_request(execution_id)
        while True:
            answer = self._send(made, waiting.seconds(self._timeout), waiting.retries(self._retries))
            execution = execution_of(answer)
            delay = waiting.delay(execution)
            if delay is None:
                return execution
            time.sleep(delay)

    def events(self, execution_id: str, *, after: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the events of an execution as they happen, up to the last one.

        A lost connection is opened again, and goes on with the next event.

        Args:
            after: Only events with a higher `seq`.
        """
        position = EventPosition(execution_id, after, self._retries, time.monotonic)
        while True:
            try:
                for line in self._lines(position.path, {"after": position.after}, position.heard):
                    yield position.event(line)
            except (ServerUnreachable, ApiError) as error:
                time.sleep(position.after_loss(error))
                continue
            # A server that stops ends its streams early.
            page = self.get(position.path, after=position.after, limit=1)
            if position.is_last(page):
                return
            time.sleep(position.after_end())

    def lines(self, path: str, *, query: Query | None = None) -> Iterator[bytes]:
        """Yield the lines of an answer that is sent as NDJSON, without the empty ones."""
        yield from self._lines(path, query, lambda: None)

    def _lines(self, path: str, query: Query | None, heard: Callable[[], None]) -> Iterator[bytes]:
        """Yield lines. ``heard`` is called for whatever arrives, empty lines too."""
        made = self._authorized(request("GET", path, query=query, headers=LINES))
        with self._transport.stream(made, silent_seconds=SILENT_STREAM_SECONDS) as (answer, chunks):
            self._check_stream(answer, chunks)
            lines = Lines()
            for chunk in chunks:
                heard()
                yield from lines.of(chunk)

    def _started(self, made: Request) -> "Run":
        answer = self._send(made, self._timeout)
        found = answer.object()
        text_of(found, "execution_id")
        return Run(self, found, is_replay=answer.is_replay)

    def _check_stream(self, answer: Answer, chunks: Iterator[bytes]) -> None:
        if answer.status in (200, 204):
            return
        body = b""
        for chunk in chunks:
            body += chunk
            if len(body) > LARGEST_ERROR_BYTES:
                break
        check(Answer(status=answer.status, headers=answer.headers, body=body), self._origin)

    def _send(self, made: Request, seconds: float, retries: Retries | None = None) -> Answer:
        """Send a request, and repeat it as `Retries` decides."""
        sent = self._authorized(made)
        attempts = Attempts(made, self._origin, retries or self._retries, time.monotonic)
        while True:
            try:
                answer = self._transport.send(sent, seconds=seconds, size=LARGEST_ANSWER_BYTES)
            except ServerUnreachable as error:
                time.sleep(attempts.after_loss(error))
                continue
            delay = attempts.after(answer)
            if delay is None:
                return attempts.checked(answer)
            time.sleep(delay)


class Run:
    """An execution that was started.

    Attributes:
        answer: The answer to the request that started it.
        is_replay: It had been started before, under the same key.
    """

    def __init__(self, client: Client, answer: Mapping[str, Any], *, is_replay: bool = False) -> None:
        self._client = client
        self.answer = answer
        self.is_replay = is_replay

    @property
    def id(self) -> str:
        return str(self.answer["execution_id"])

    @property
    def flow_id(self) -> str:
        return str(self.answer["flow_id"])

    def __repr__(self) -> str:
        return f"Run({self.id!r})"

    def wait(self, timeout: float | None = None, *, check: bool = True) -> "ExecutionDetail":
        """Return the execution once it has ended. See `Client.wait`."""
        return self._client.wait(self.id, timeout, check=check)

    def events(self, *, after: int = 0) -> Iterator[dict[str, Any]]:
        """Yield its events up to the last one. See `Client.events`."""
        return self._client.events(self.id, after=after)

    def cancel(self) -> None:
        self._client.executions.cancel(self.id)
