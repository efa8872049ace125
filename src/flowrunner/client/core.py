"""The part of both clients that does no I/O: the server, the token, and the requests of conveniences."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from flowrunner.client.answers import Answer
from flowrunner.client.calls import members
from flowrunner.client.groups import Groups
from flowrunner.client.operations import K
from flowrunner.client.requests import Origin, Request, authorization, key_or_new, merged, request, segment
from flowrunner.client.retries import Retries

if TYPE_CHECKING:
    from flowrunner.client.models import ExecutionDetail

VERSION: Final = "0.1.0"
LARGEST_ANSWER_BYTES: Final = 64 * 1024 * 1024
# Of an answer that would have been read piece by piece.
LARGEST_ERROR_BYTES: Final = 1024 * 1024
# The server sends an empty line at least every 15 s.
SILENT_STREAM_SECONDS: Final = 60.0
LINES: Final = {"Accept": "application/x-ndjson"}
_FLOW_ID: Final = re.compile(r"flow-[0-9a-z]{36}")


class ClientCore(Groups[K]):
    """The server of a client, its token and its bounds."""

    def __init__(
        self,
        url: str,
        token: str | None,
        *,
        workspace: str | None,
        timeout: float,
        retry_seconds: float,
        user_agent: str | None,
    ) -> None:
        check_seconds(timeout)
        self.workspace = workspace
        self._origin = Origin.parse(url)
        self._timeout = timeout
        self._retries = Retries(retry_seconds)
        self._headers = {"Accept": "application/json", "User-Agent": user_agent or f"flowrunner-client/{VERSION}"}
        self._authorization = None if token is None else authorization(token)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @property
    def url(self) -> str:
        return str(self._origin)

    def use_token(self, token: str) -> None:
        """Send this token from now on."""
        self._authorization = authorization(token)

    def _authorized(self, made: Request) -> Request:
        """Return a request with the headers of this client."""
        own = {**self._headers, "Authorization": self._authorization, "Flowrunner-Workspace": self.workspace}
        headers = merged(own, made.headers)
        return Request(method=made.method, target=made.target, headers=headers, body=made.body)


def check_seconds(timeout: float) -> None:
    """Raises: ValueError unless a request can be answered in this time."""
    if not timeout > 0:
        raise ValueError("A timeout is a number of seconds above 0")


def run_request(flow: str, input: Any, labels: Mapping[str, str] | None, idempotency_key: str | None) -> Request:
    """Return the request that starts an execution of the flow with this name or id."""
    place = segment(flow) if _FLOW_ID.fullmatch(flow) else f"by-name/{segment(flow)}"
    body = members({"input": input, "labels": labels})
    return request("POST", f"/flows/{place}/run", json=body, idempotency_key=key_or_new(idempotency_key))


def rerun_request(execution_id: str, body: Mapping[str, Any], idempotency_key: str | None) -> Request:
    path = f"/executions/{segment(execution_id)}/rerun"
    return request("POST", path, json=members(body), idempotency_key=key_or_new(idempotency_key))


def execution_request(execution_id: str) -> Request:
    return request("GET", f"/executions/{segment(execution_id)}")


def execution_of(answer: Answer) -> "ExecutionDetail":
    # The models take a while to load, and not every program needs them.
    from flowrunner.client.models import ExecutionDetail

    return ExecutionDetail.of(answer.object())
