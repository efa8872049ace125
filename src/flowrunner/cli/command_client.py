"""Client of the commands."""

import time
from collections.abc import Callable
from typing import Any, Final

import click

from flowrunner.cli.common import Common
from flowrunner.cli.output import check_fields
from flowrunner.cli.text import plain
from flowrunner.client import Answer, Client, ClientError, NotFoundError, UnreadableAnswer
from flowrunner.client.requests import Request

# Every answer of FlowRunner has it, in lower case here, unless a proxy leaves it out.
_REQUEST_ID: Final = "x-request-id"


class CommandClient(Client):
    """Client that rejects answers of other programs and changes nothing if the answer could not be shown.

    With `--verbose` it prints each request, without its body and token.

    Attributes:
        wanted: The common options of the command, which may send from other threads.
        newer_token: Returns the token to use from now on, or None if it is the same.
    """

    def __init__(self, wanted: Common, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.wanted = wanted
        self.newer_token: Callable[[], str | None] = lambda: None
        self._is_recognised = False

    def _authorized(self, made: Request) -> Request:
        if (token := self.newer_token()) is not None:
            self.use_token(token)
        return super()._authorized(made)

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
        # Any program may answer with status 200 and JSON.
        if _REQUEST_ID not in answer.headers and not self._recognises_server():
            raise UnreadableAnswer(f"{self.wanted.address} answers, but not as FlowRunner does")
        return answer

    def _recognises_server(self) -> bool:
        """Return whether an answer that FlowRunner gives to everybody is as it gives it, or there is none now.

        The server is asked until it is recognised.
        """
        if not self._is_recognised:
            try:
                found = super().request("GET", "/auth/methods").object()
            except (UnreadableAnswer, NotFoundError):
                return False
            except ClientError:
                # The request may have been done. Its answer, such as a token that is shown once, would be lost.
                return True
            self._is_recognised = {"password", "providers"} <= found.keys()
        return self._is_recognised


def _print_request(method: str, path: str, start: float, status: object, error: ClientError | None) -> None:
    request_id = getattr(error, "request_id", None)
    milliseconds = (time.monotonic() - start) * 1000
    suffix = f", request {request_id}" if request_id else ""
    click.echo(plain(f"flowrunner: {method} {path}: {status} in {milliseconds:.0f} ms{suffix}"), err=True)
