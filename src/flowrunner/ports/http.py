"""What sends requests for nodes."""

from typing import Protocol

from flowrunner.domain.values import AccountId
from flowrunner.plugin import HttpClient


class HttpClients(Protocol):
    """A client for each account, with a share of what all of them need."""

    def of(self, account_id: AccountId) -> HttpClient: ...
