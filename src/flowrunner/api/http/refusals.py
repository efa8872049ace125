"""Answers to input that could not be parsed as a request."""

import secrets
from functools import cache
from http import HTTPStatus

from flowrunner.api.http.edge import SECURITY_HEADERS
from flowrunner.api.http.errors import error_answer
from flowrunner.api.request_log import log_unreadable


def refusal(status: int, message: str) -> bytes:
    """Return an error answer in the usual form, which also closes the connection."""
    request_id = secrets.token_hex(8)
    log_unreadable(request_id, status)
    answer = error_answer(request_id, status, message)
    headers = [
        *answer.raw_headers,
        (b"x-request-id", request_id.encode()),
        *SECURITY_HEADERS,
        (b"connection", b"close"),
    ]
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return status_line(status) + lines + b"\r\n" + bytes(answer.body)


@cache
def status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
