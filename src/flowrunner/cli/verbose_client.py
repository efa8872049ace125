"""Client that prints its requests."""

import time
from typing import Any

import click

from flowrunner.cli.text import plain
from flowrunner.client import Answer, Client, ClientError


class VerboseClient(Client):
    """Client that prints each request, without its body and token."""

    def request(self, method: str, path: str, **more: Any) -> Answer:
        start = time.monotonic()
        try:
            answer = super().request(method, path, **more)
        except ClientError as error:
            _print_request(method, path, start, getattr(error, "status", "no answer"), error)
            raise
        _print_request(method, path, start, answer.status, None)
        return answer


def _print_request(method: str, path: str, start: float, status: object, error: ClientError | None) -> None:
    request_id = getattr(error, "request_id", None)
    milliseconds = (time.monotonic() - start) * 1000
    suffix = f", request {request_id}" if request_id else ""
    click.echo(plain(f"flowrunner: {method} {path}: {status} in {milliseconds:.0f} ms{suffix}"), err=True)
