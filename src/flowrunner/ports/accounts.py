"""The store of accounts, and the hashing of passwords."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from flowrunner.domain.account import Account, Role
from flowrunner.domain.audit import AuditEntry
from flowrunner.domain.values import AccountId
from flowrunner.domain.workspace import OfDeletedAccount
from flowrunner.ports.audit import Audit
from flowrunner.ports.page import Page

# Stored in place of a hash for an account that logs in by a provider only. No password matches it.
NO_PASSWORD: Final = "!"  # noqa: S105 # none


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """An account with the hash that the password of a login is checked against.

    Attributes:
        has_second_factor: The account has a confirmed second factor, which the login has to use, too.
    """

    account: Account
    password_hash: str
    has_second_factor: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmationLink:
    """A link that confirms the e-mail address of an account. Attributes: digest: The digest of its token."""

    digest: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChanges:
    """The fields of an account that change; None leaves one as it is.

    Attributes:
        is_email_confirmed: A new address is not confirmed unless this is True.
    """

    name: str | None = None
    email: str | None = None
    role: Role | None = None
    password_hash: str | None = None
    is_disabled: bool | None = None
    is_email_confirmed: bool | None = None


class AccountStore(Protocol):
    async def create(
        self,
        account: Account,
        *,
        password_hash: str,
        only_if_first: bool = False,
        link: ConfirmationLink | None = None,
        audit: Audit = None,
    ) -> None:
        """Raises: EmailTaken; Conflict if ``only_if_first`` and there is an account."""
        ...

    async def update(
        self,
        id: AccountId,
        changes: AccountChanges,
        *,
        by: AccountId,
        at: datetime,
        old_password_hash: str | None = None,
        known_email: str | None = None,
        link: ConfirmationLink | None = None,
        audit: Audit = None,
    ) -> tuple[Account, bool]:
        """Change the fields that are not None; return the account and whether its sessions ended.

        A new role, a new password, disabling and enabling end them. A new password ends its API tokens too.

        Args:
            by: The account that makes the change; its current rights decide.
            old_password_hash: Hash of the password that was checked for the change; None if none was.
            known_email: Reject the change if the account no longer has this address.
            link: The link that confirms a new address; it replaces any earlier one.

        Raises:
            NotFound: Also if ``by`` may not see the account.
            Forbidden: If the role, `is_disabled` or `is_email_confirmed` is to change and ``by`` is not an admin.
            EmailTaken.
            Conflict: If no active admin would remain, or the password or the address has changed since it was checked.
        """
        ...

    async def delete(
        self,
        id: AccountId,
        *,
        at: datetime,
        workspace: OfDeletedAccount | None = "delete",
        to: AccountId | None = None,
        audit: Audit = None,
    ) -> tuple[AccountId, ...]:
        """Delete an account, and end its sessions and API tokens.

        Args:
            workspace: What to do with the personal workspace; None deletes it if it has neither flows nor members.
            to: The account that gets the workspace, and becomes an admin of it.

        Returns:
            The members of the personal workspace: their rights there have changed or ended.

        Raises:
            NotFound: If the account does not exist, or the one that gets the workspace.
            Conflict: If no admin would remain, in the installation or in a shared workspace; if ``workspace`` is None
                and the personal workspace is not empty; or if nobody can keep it.
        """
        ...

    async def get(self, id: AccountId) -> Account:
        """Raises: NotFound."""
        ...

    async def credential(self, email: str) -> Credential | None:
        """Return the account with this address; None if there is none, or it is disabled."""
        ...

    async def set_confirmation_link(
        self, id: AccountId, email: str, link: ConfirmationLink, *, audit: Audit = None
    ) -> None:
        """Replace the link that confirms an address.

        Raises: Conflict if the address is confirmed, or is not the account's.
        """
        ...

    async def use_confirmation_link(self, id: AccountId, digest: str, *, at: datetime, audit: Audit = None) -> Account:
        """Confirm the address of an account with its link. Raises: NotFound if the account no longer has the link."""
        ...

    async def confirm_email(self, id: AccountId, email: str, *, at: datetime, audit: AuditEntry | None = None) -> None:
        """Confirm an address, unless it is confirmed. Raises: NotFound if it is no longer the account's."""
        ...

    async def rehash(self, id: AccountId, *, old: str, new: str) -> bool:
        """Replace ``old`` with another hash of the same password; return False if ``old`` is no longer stored."""
        ...

    async def page(self, *, role: Role | None, page: Page) -> tuple[Sequence[Account], int]: ...
    async def any(self) -> bool: ...


class PasswordHasher(Protocol):
    """Password hashing with a bound on concurrent hashes and a fair queue.

    Both methods take the ``source`` of the request, such as an address. The queue is round-robin over sources, and
    both methods raise QueueFull if too many calls wait. A call that is cancelled while it waits leaves the queue.
    """

    async def hash(self, password: str, *, source: str) -> str: ...
    async def verify(self, password_hash: str | None, password: str, *, source: str) -> bool:
        """Return whether the password matches; None, for an unknown account, takes as long as a wrong password."""
        ...

    def is_outdated(self, password_hash: str) -> bool: ...
