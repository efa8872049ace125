"""What tests of WebSockets share: executions to watch, and how a socket answers."""

import json
import time
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from api.shapes import CODES, NAP
from support.client import Client
from support.waiting import PATIENCE_SECONDS


def waiting(account: Client) -> str:
    """An execution that waits for long."""
    id = account.run(account.new_flow(NAP))
    account.until_it_waits(id)
    return id


def chain(*nodes: str) -> str:
    """A flow of these nodes, one after the other."""
    lines = [
        f"  n{number}: {{{node}{f', next: n{number + 1}' if number + 1 < len(nodes) else ''}}}"
        for number, node in enumerate(nodes)
    ]
    return "nodes:\n" + "\n".join(lines) + "\n"


def read(connection: ClientConnection, count: int) -> list[Any]:
    return [json.loads(connection.recv(timeout=PATIENCE_SECONDS)) for _ in range(count)]


def close_code(connection: ClientConnection, seconds: float = 10.0) -> int | None:
    """The code that the server closes with; whatever comes before is read."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            connection.recv(timeout=0.2)
        except TimeoutError:
            continue
        except ConnectionClosed:
            return connection.close_code
    return None


def refused(account: Client, id: str, status: int, **options: Any) -> Any:
    """Check that a socket is refused before it is accepted; gives the error."""
    with pytest.raises(InvalidStatus) as caught:
        account.watch(id, **options)
    response = caught.value.response
    assert response.status_code == status
    error = json.loads(response.body)["error"]
    assert error["code"] == CODES[status]
    assert error["request_id"] == response.headers["X-Request-Id"]
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    return {**error, "request_id": ""}
