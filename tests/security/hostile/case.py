"""A hostile case, and what it has at hand."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from support.client import FINAL, Client, Reply
from support.receiver import Receiver
from support.server import Server

RETURN: Final = "nodes: {a: {type: return}}"


class Attacker:
    """One case's way to the server: as nobody, and as an account that no other case uses.

    Args:
        is_whole: It may take its time, as under `make security`.
    """

    def __init__(self, server: Server, admin: Client, receiver: Receiver, *, is_whole: bool) -> None:
        self.server = server
        self.admin = admin
        self.receiver = receiver
        self.is_whole = is_whole

    @cached_property
    def account(self) -> Client:
        return self.admin.new_account()

    @property
    def nobody(self) -> Client:
        return self.server.client()

    def many(self, few: int, whole: int) -> int:
        """How many of something: few in CI, and all under `make security`."""
        return whole if self.is_whole else few

    def validate(self, document: str | dict[str, Any]) -> Reply:
        return self.account.post("/api/v1/flows/validate", {"definition": _text(document)})

    def save(self, document: str | dict[str, Any]) -> str:
        return self.account.new_flow(_text(document))

    def run(self, document: str | dict[str, Any], input: Any = None, *, seconds: float = 10.0) -> Any:
        """Save and run it, and return the execution: ended, or cancelled after so long."""
        return self.wait(self.account.run(self.save(document), input), seconds)

    def wait(self, execution: str, seconds: float = 10.0) -> Any:
        deadline = time.monotonic() + seconds
        while (found := self.account.execution(execution))["status"] not in FINAL:
            if time.monotonic() > deadline:
                self.account.delete(f"/api/v1/executions/{execution}")
                return self.account.execution(execution)
            time.sleep(0.05)
        # A node that crashes ends the case before it has come to what it is about.
        assert "failed unexpectedly" not in str(found.get("error")), found
        return found

    def send(self, method: str, path: str, body: bytes, content_type: str = "application/json") -> Reply:
        return self.account.request(method, path, body, {"Content-Type": content_type})


@dataclass(frozen=True, slots=True)
class Case:
    """An attack: a function that sends it and returns when the server has been through with it.

    Args:
        known: The work that repairs it, as long as that has not landed: it is not run.
        only_whole: It takes too long for CI, and runs under `make security`.
        is_long: It takes more than half a second of processor time. A third of these run in CI, others on the next
            days; `make security` runs all.
    """

    name: str
    attack: Callable[[Attacker], object]
    known: str = ""
    only_whole: bool = False
    is_long: bool = False


def long_case(name: str, attack: Callable[[Attacker], object]) -> Case:
    return Case(name, attack, is_long=True)


def _text(document: str | dict[str, Any]) -> str:
    return document if isinstance(document, str) else json.dumps(document)


@contextmanager
def ignoring_refusals() -> Iterator[None]:
    """For attacks that the server ends by closing the connection."""
    with suppress(ConnectionError, TimeoutError):
        yield
