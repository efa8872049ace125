"""The signer of links that answer approvals."""

from datetime import datetime
from typing import NamedTuple, Protocol

from flowrunner.domain.values import ExecutionId


class ApprovalPlace(NamedTuple):
    """The wait that a link answers.

    Attributes:
        seq: The number of its event in the execution.
        since: The time of that event: after a restore, another one may get the same number. None in links of earlier
            versions.
    """

    execution_id: ExecutionId
    seq: int
    since: datetime | None


class ApprovalLinkSigner(Protocol):
    def url(self, place: ApprovalPlace) -> str | None:
        """Return the link to an approval, the same each time; None if the server's address is not known."""
        ...


class ApprovalLinks(ApprovalLinkSigner, Protocol):
    def read(self, token: str) -> ApprovalPlace | None:
        """Return the approval of the token in a link; None if this installation has not signed it."""
        ...


class NoApprovalLinks:
    """Links of an execution without a server, which lead nowhere. Implements `ApprovalLinkSigner`."""

    def url(self, place: ApprovalPlace) -> str | None:
        return f"https://flowrunner.invalid/approve/{place.execution_id}.{place.seq}"
