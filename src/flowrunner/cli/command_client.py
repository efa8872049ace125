"""Client of the commands."""

import time
from typing import Any, Final

import click

from flowrunner.cli.common import Common
from flowrunner.cli.output import check_fields
from flowrunner.cli.text import plain
from flowrunner.client import Answer, Client, ClientError, UnreadableAnswer

# Every answer of FlowRunner has it, in lower case here.
_REQUEST_ID: Final = "x-request-id"


class CommandClient(Client):
    """Client that rejects answers of other programs and changes nothing if the answer could not be shown.

    With `--verbose` it prints each request, without its body and token.

    Attributes:
        wanted: The common options of the command, which may send from other threads.
    """

    def __init__(self, wanted: Common, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.wanted = wanted

    def request(self, method: str, path: str, **more: Any) -> Answer:
        if method != "GET":
            check_fields(self.wanted)
        start = time.monotonic()
        try:
            answer = super().request(method, path, **more)
        except ClientError as error:
            if self.wanted.verbose:
                _print_request(method, path, start, getattr(error, "status", "no answer"), error)
            raise
        if self.wanted.verbose:
            _print_request(method, path, start, answer.status, None)
        if _REQUEST_ID not in answer.headers:
            # Any program may answer with status 200 and JSON.
            raise UnreadableAnswer(f"{self.wanted.address} answers, but not as FlowRunner does")
        return answer


def _print_request(method: str, path: str, start: float, status: object, error: ClientError | None) -> None:
    request_id = getattr(error, "request_id", None)
    milliseconds = (time.monotonic() - start) * 1000
    suffix = f", request {request_id}" if request_id else ""
    click.echo(plain(f"flowrunner: {method} {path}: {status} in {milliseconds:.0f} ms{suffix}"), err=True)
