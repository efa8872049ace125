"""The synchronous client."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final, Self

from flowrunner.client.answers import Answer, check
from flowrunner.client.errors import ExecutionFailed, ServerUnreachable, StillRunning, UnreadableAnswer
from flowrunner.client.requests import DEFAULT_URL, Origin, Query, Request, authorization, draw, request, segment
from flowrunner.client.retries import Retries
from flowrunner.client.sync_transport import Limits, SyncTransport

FINAL: Final = frozenset({"completed", "failed", "cancelled"})
LARGEST_ANSWER_BYTES: Final = 64 * 1024 * 1024
_LONGEST_LINE_BYTES: Final = 16 * 1024 * 1024
_FLOW_ID: Final = re.compile(r"flow-[0-9a-z]{26}")
_FIRST_POLL_SECONDS: Final = 0.05
_LONGEST_POLL_SECONDS: Final = 1.0
# The server sends an empty line at least every 15 s.
_SILENT_STREAM_SECONDS: Final = 60.0


class Client:
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

    def __init__(
        self,
        url: str = DEFAULT_URL,
        token: str | None = None,
        *,
        workspace: str | None = None,
        timeout: float = 30.0,
        retry_seconds: float = 30.0,
        ca_file: str | None = None,
        user_agent: str | None = None,
    ) -> None:
        self._origin = Origin.parse(url)
        self._token = token
        self._headers = {"Accept": "application/json", "User-Agent": user_agent or "flowrunner-client"}
        self.workspace = workspace
        self._timeout = timeout
        self._retries = Retries(retry_seconds)
        self._transport = SyncTransport(self._origin, ca_file=ca_file)
        if token is not None:
            authorization(token)

    def __repr__(self) -> str:
        return f"Client({str(self._origin)!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections that are kept open. The client can be used again."""
        self._transport.close()

    @property
    def url(self) -> str:
        return str(self._origin)

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
        return self._send(made, timeout=timeout)

    def get(self, path: str, **query: Any) -> Any:
        """Return the value that a GET answers with."""
        return self.request("GET", path, query=query).json()

    def entries(self, path: str, *, query: Query | None = None, most: int | None = None) -> Iterator[dict[str, Any]]:
        """Yield the entries of a list, page by page, up to ``most``.

        Args:
            query: Filters, and `limit` for the size of the pages.
        """
        asked: dict[str, Any] = {
            "limit": 100 if most is None else max(1, min(most, 100)),
            "cursor": "",
            **(query or {}),
        }
        left = most
        while True:
            page = self.request("GET", path, query=asked).object()
            for entry in _entries(page):
                if left is not None:
                    if left <= 0:
                        return
                    left -= 1
                yield entry
            if not page.get("next_cursor") or left == 0:
                return
            asked["cursor"] = page["next_cursor"]

    def login(self, username: str, password: str) -> Mapping[str, Any]:
        """Log in, use the new token from now on, and return the answer, which has it."""
        answer = self.request("POST", "/auth/login", json={"username": username, "password": password}).object()
        authorization(str(answer["token"]))
        self._token = str(answer["token"])
        return answer

    # Executions

    def run(
        self,
        flow: str,
        input: Any = None,
        *,
        idempotency_key: str | None = None,
    ) -> "Run":
        """Start an execution.

        Args:
            flow: The name or the id of the flow.
            idempotency_key: What stands for this start in your own data, such as the number of an order: a second
                request with it starts nothing. Without one the client makes a key, for its own repeats.
        """
        place = segment(flow) if _FLOW_ID.fullmatch(flow) else f"by-name/{segment(flow)}"
        answer = self.request(
            "POST", f"/flows/{place}/run", json={"input": {} if input is None else input},
            idempotency_key=idempotency_key or True,
        )  # fmt: skip
        return Run(self, answer.object(), is_replay=answer.is_replay)

    def wait(self, execution_id: str, timeout: float | None = None, *, check: bool = True) -> dict[str, Any]:
        """Return an execution once it has ended.

        Args:
            timeout: Seconds to wait at most; None waits indefinitely.
            check: Raise an error if it has not completed.

        Raises:
            ExecutionFailed: It failed, or it was cancelled.
            StillRunning: The time is up.
        """
        start, delay = time.monotonic(), _FIRST_POLL_SECONDS
        while True:
            execution = self.request("GET", f"/executions/{segment(execution_id)}").object()
            if execution.get("status") in FINAL:
                if check and execution["status"] != "completed":
                    raise ExecutionFailed(execution)
                return execution
            if timeout is not None:
                left = start + timeout - time.monotonic()
                if left <= 0:
                    raise StillRunning(execution, timeout)
                delay = min(delay, left)
            time.sleep(delay)
            delay = min(delay * 2, _LONGEST_POLL_SECONDS)

    def events(self, execution_id: str, *, after: int = 0) -> Iterator[dict[str, Any]]:
        """Yield the events of an execution as they happen, up to the last one.

        A lost connection is opened again, and goes on with the next event.

        Args:
            after: Only events with a higher `seq`.
        """
        path = f"/executions/{segment(execution_id)}/events"
        attempt, failing_since = 0, time.monotonic()
        while True:
            try:
                for line in self.lines(path, query={"after": after}):
                    event = _event(line)
                    after, attempt = int(event["seq"]), 0
                    yield event
                    failing_since = time.monotonic()
            except ServerUnreachable as error:
                attempt += 1
                elapsed = time.monotonic() - failing_since
                delay = self._retries.delay(attempt, elapsed=elapsed, draw=draw(), is_repeatable=True)
                if delay is None:
                    raise error
                time.sleep(delay)
                continue
            # A server that stops ends its streams early.
            page = self.get(path, after=after, limit=1)
            if page["has_ended"] and not page["events"]:
                return

    def lines(self, path: str, *, query: Query | None = None) -> Iterator[bytes]:
        """Yield the lines of an answer that is sent as NDJSON, without the empty ones."""
        made = request("GET", path, query=query, headers={"Accept": "application/x-ndjson"})
        limits = Limits(_SILENT_STREAM_SECONDS, float("inf"), 0)
        with self._transport.stream(self._authorized(made), limits) as (answer, chunks):
            if answer.status == 204:
                return
            if answer.status != 200:
                body = b"".join(chunk for chunk, _ in zip(chunks, range(16), strict=False))
                check(Answer(status=answer.status, headers=answer.headers, body=body), self._origin)
            rest = b""
            for chunk in chunks:
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > _LONGEST_LINE_BYTES:
                    raise UnreadableAnswer(f"A line of the answer has more than {_LONGEST_LINE_BYTES} bytes")
                yield from filter(None, lines)

    def _send(self, made: Request, *, timeout: float | None) -> Answer:
        """Send a request, and repeat it as `Retries` decides."""
        sent = self._authorized(made)
        start, attempt, was_lost = time.monotonic(), 0, False
        while True:
            attempt += 1
            answer = failure = None
            seconds = self._timeout if timeout is None else timeout
            try:
                answer = self._transport.send(sent, Limits(seconds, time.monotonic() + seconds, LARGEST_ANSWER_BYTES))
            except ServerUnreachable as error:
                failure = error
                was_lost = was_lost or error.was_sent
            delay = None
            if answer is None or answer.status >= 400:
                delay = self._retries.delay(
                    attempt,
                    elapsed=time.monotonic() - start,
                    draw=draw(),
                    is_repeatable=made.is_repeatable,
                    status=answer.status if answer else None,
                    was_sent=failure is None or failure.was_sent,
                    retry_after=answer.retry_after if answer else None,
                )
            if delay is not None:
                time.sleep(delay)
            elif failure is not None:
                raise failure
            elif answer is not None:
                return check(answer, self._origin, was_lost=was_lost)

    def _authorized(self, made: Request) -> Request:
        headers = {**self._headers, **made.headers}
        if self._token is not None:
            headers.setdefault("Authorization", authorization(self._token))
        if self.workspace is not None:
            headers.setdefault("Flowrunner-Workspace", self.workspace)
        return Request(method=made.method, target=made.target, headers=headers, body=made.body)


class Run:
    """An execution that was started.

    Attributes:
        answer: The answer to the request that started it.
    """

    def __init__(self, client: "Client", answer: Mapping[str, Any], *, is_replay: bool = False) -> None:
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

    def wait(self, timeout: float | None = None, *, check: bool = True) -> Mapping[str, Any]:
        """Return the execution once it has ended. See `Client.wait`."""
        return self._client.wait(self.id, timeout, check=check)

    def events(self, *, after: int = 0) -> Iterator[dict[str, Any]]:
        """Yield its events up to the last one. See `Client.events`."""
        return self._client.events(self.id, after=after)

    def cancel(self) -> None:
        self._client.request("DELETE", f"/executions/{self.id}")


def _entries(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the entries of a page: the only list in it."""
    lists = [value for value in page.values() if isinstance(value, list)]
    if len(lists) != 1:
        raise UnreadableAnswer("The answer is not a list")
    return lists[0]


def _event(line: bytes) -> dict[str, Any]:
    try:
        event = json.loads(line)
        int(event["seq"])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise UnreadableAnswer("A line of the answer is not an event") from None
    return dict(event)
