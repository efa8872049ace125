"""Management of accounts: by admins, and by each account for itself."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from flowrunner.domain.account import (
    Account,
    Caller,
    Right,
    Role,
    authorise,
    check_needs_no_admin,
    name_faults,
    password_faults,
)
from flowrunner.domain.audit import AuditEntry, act, act_on_account
from flowrunner.domain.email_address import NOT_AN_ADDRESS, is_address, normal_email
from flowrunner.domain.errors import EmailTaken, Fault, InvalidInput, NotFound, Unauthorized, invalid
from flowrunner.domain.mails import OutgoingMail
from flowrunner.domain.values import JSON, AccountId, personal_workspace
from flowrunner.domain.workspace import OfDeletedAccount
from flowrunner.ids import new_id
from flowrunner.ports.accounts import AccountChanges, AccountStore, PasswordHasher
from flowrunner.ports.clock import Clock
from flowrunner.ports.page import Page
from flowrunner.services.email_confirmations import EmailConfirmations
from flowrunner.services.login_mails import LoginMails
from flowrunner.services.logins import check_recent_login
from flowrunner.services.password_check import PasswordCheck
from flowrunner.services.rates import Allowance, SlidingWindow
from flowrunner.services.readmission import readmit

# Password changes of an account in a minute. Each uses as much CPU as a login, and only a few passwords are hashed at
# the same time.
MOST_PASSWORDS: Final = 60
# Requests of an account to change its own e-mail address in an hour. A rejected one may reveal that the address is
# taken.
MOST_EMAILS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountUpdate:
    """A request to change an account; None leaves a field as it is.

    Attributes:
        current_password: Required with a new password for the caller's own account.
        is_email_confirmed: The address is known to be the person's; it has to be given, too.
    """

    name: str | None = None
    email: str | None = None
    role: Role | None = None
    password: str | None = None
    current_password: str | None = None
    is_disabled: bool | None = None
    is_email_confirmed: bool | None = None

    @property
    def given(self) -> list[JSON]:
        """Return the names of the given fields for the audit log."""
        fields = {
            "name": self.name,
            "email": self.email,
            "role": self.role,
            "password": self.password,
            "is_disabled": self.is_disabled,
            "email_confirmed": self.is_email_confirmed,
        }
        return [name for name, value in fields.items() if value is not None]


class Accounts:
    """Use cases of accounts.

    Args:
        passwords: Checks the current password of an account that changes its own.
        on_sessions_end: Called with an account whose sessions have ended, or whose rights have changed.
        on_delete: Called with an account that was deleted with its personal workspace.
    """

    def __init__(
        self,
        store: AccountStore,
        passwords: PasswordCheck,
        hasher: PasswordHasher,
        login_mails: LoginMails,
        clock: Clock,
        *,
        confirmations: EmailConfirmations,
        on_sessions_end: Callable[[AccountId], Awaitable[None]],
        on_delete: Callable[[AccountId], Awaitable[None]],
    ) -> None:
        self._store = store
        self._passwords = passwords
        self._hasher = hasher
        self._login_mails = login_mails
        self._confirmations = confirmations
        self._clock = clock
        self._on_sessions_end = on_sessions_end
        self._on_delete = on_delete
        self._password_changes: Allowance[AccountId] = Allowance(
            MOST_PASSWORDS,
            limit="account_passwords",
            message="This account changes more than {most} passwords a minute: wait before the next one",
        )
        self._email_changes: SlidingWindow[AccountId] = SlidingWindow(
            MOST_EMAILS,
            limit="account_emails",
            message="An account changes its own e-mail address at most {most} times an hour: wait before the next one",
            length=timedelta(hours=1),
        )

    async def create(
        self,
        *,
        name: str,
        email: str,
        password: str,
        role: Role,
        is_email_confirmed: bool = False,
        by: Caller | None = None,
    ) -> Account:
        """Create an account. Raises: InvalidInput; Conflict if the address is taken; TooManyRequests.

        Args:
            is_email_confirmed: The address is known to be the person's, as it always is for the server itself.
        """
        return await self._create(
            name=name,
            email=email,
            password=password,
            role=role,
            only_if_first=False,
            is_confirmed=is_email_confirmed or by is None,
            entry=act(by, "account.created", "account", "", at=self._clock.now()),
        )

    async def create_first(self, *, name: str, email: str, password: str, address: str | None = None) -> Account:
        """Create the first admin, who sets the server up. Raises: InvalidInput; Conflict if there is an account.

        Args:
            address: The client that has the set-up token; None if the server itself creates the account.
        """
        entry = act(None, "account.created", "account", "", at=self._clock.now())
        if address is not None:
            entry = replace(entry, credential="setup", address=address)
        return await self._create(
            # The person with the set-up token is the operator, who could confirm any address.
            name=name, email=email, password=password, role="admin", only_if_first=True, is_confirmed=True, entry=entry
        )  # fmt: skip

    async def _create(
        self,
        *,
        name: str,
        email: str,
        password: str,
        role: Role,
        only_if_first: bool,
        is_confirmed: bool,
        entry: AuditEntry,
    ) -> Account:
        email = _checked(name=name, email=email, password=password)
        now = self._clock.now()
        account = Account(
            id=AccountId(new_id("account", now)),
            name=name,
            email=email,
            role=role,
            created_at=now,
            updated_at=now,
            is_email_confirmed=is_confirmed,
        )
        link, mails = (None, ()) if is_confirmed else self._confirmations.begin(account.id, name=name, email=email)
        password_hash = await self._hasher.hash(password, source=entry.actor or entry.address)
        # Hashing may have waited in its queue.
        await readmit()
        entry = replace(
            entry,
            object=("account", account.id),
            workspace_id=personal_workspace(account.id),
            details={"role": role},
            mails=mails,
        )
        await self._store.create(
            account, password_hash=password_hash, only_if_first=only_if_first, link=link, audit=entry
        )
        if link is not None:
            self._confirmations.count(email)
        return account

    async def get(self, caller: Caller, id: AccountId) -> Account:
        """Raises: NotFound, also for an account that the caller may not see."""
        if not (caller.is_admin or caller.account_id == id):
            raise NotFound("account")
        return await self._store.get(id)

    async def page(self, *, role: Role | None, page: Page) -> tuple[Sequence[Account], int]:
        return await self._store.page(role=role, page=page)

    async def update(self, caller: Caller, id: AccountId, asked: AccountUpdate) -> Account:
        """Change the given fields that differ.

        A new role or password ends the account's sessions, and so does disabling it; a new password ends its
        API tokens too. A disabled account cannot log in, and its API tokens are rejected until it is enabled. A new
        e-mail address is not confirmed, unless an admin says so; a link that confirms it is sent to it. An admin
        who confirms the present address sends it too, so that no address is confirmed that was set in the meantime.

        Raises: NotFound, InvalidInput, Forbidden, TooManyRequests; EmailTaken if the caller changes another account
            and the address is taken; Conflict if no active admin would remain, or the password was changed in the
            meantime, or the address that is confirmed was.
        """
        before, is_own = await self.get(caller, id), caller.account_id == id
        new = _without_repeats(asked, before)
        _check_rights(caller, asked, new, before)
        if is_own and new.email is not None:
            self._admit_own_email(caller)
        email = _checked(
            name=before.name if new.name is None else new.name,
            email=before.email if new.email is None else new.email,
            password=new.password,
            known_email=before.email,
            lacks_current=is_own and new.password is not None and new.current_password is None,
        )
        password_hash, old_password_hash = await self._hashes(
            caller, before.email, new.password, current=new.current_password if is_own else None
        )
        # Hashing may have waited in its queue.
        await readmit()
        now = self._clock.now()
        changes = AccountChanges(
            name=new.name,
            email=None if new.email is None else email,
            role=new.role,
            password_hash=password_hash,
            is_disabled=new.is_disabled,
            is_email_confirmed=new.is_email_confirmed,
        )
        # To the address before: a thief would replace that first.
        with self._login_mails.about(id, *_noticed(before, new), to=before.email) as notices:
            link, mails = None, notices
            if new.email is not None and not new.is_email_confirmed:
                link, confirming = self._confirmations.begin(id, name=new.name or before.name, email=email)
                mails = (*notices, *confirming)
            try:
                after, has_ended_sessions = await self._store.update(
                    id,
                    changes,
                    by=caller.account_id,
                    at=now,
                    old_password_hash=old_password_hash,
                    known_email=before.email if new.is_email_confirmed and new.email is None else None,
                    link=link,
                    audit=partial(_entry_of_update, caller, id, asked, at=now, mails=mails),
                )
            except EmailTaken:
                if not is_own:
                    raise
                # An error of its own would reveal which addresses have an account here.
                raise InvalidInput([_NOT_AN_ADDRESS]) from None
        if link is not None:
            self._confirmations.count(email)
        if has_ended_sessions:
            await self._on_sessions_end(id)
        return after

    def _admit_own_email(self, caller: Caller) -> None:
        """Raises: Forbidden if the login is not recent; TooManyRequests."""
        at = self._clock.now()
        check_recent_login(caller, at=at)
        self._email_changes.take(caller.account_id, at=at)

    async def _hashes(
        self, caller: Caller, email: str, password: str | None, *, current: str | None
    ) -> tuple[str | None, str | None]:
        """Return the hash of a new password, and that of the caller's present one if it is given.

        Raises: InvalidInput, TooManyRequests, QueueFull.
        """
        if password is None:
            return None, None
        self._password_changes.take(caller.account_id, at=self._clock.now())
        old = None if current is None else await self._check_own(caller, email, current)
        return await self._hasher.hash(password, source=caller.account_id), old

    async def _check_own(self, caller: Caller, email: str, password: str) -> str:
        """Return the hash of the caller's password. Raises: InvalidInput, TooManyRequests, QueueFull."""
        try:
            credential = await self._passwords.run(email, password, address=caller.address, source=caller.account_id)
        except Unauthorized:
            raise invalid("current_password", "is not the current password", code="wrong") from None
        return credential.password_hash

    async def delete(
        self,
        id: AccountId,
        *,
        workspace: OfDeletedAccount | None = None,
        to: AccountId | None = None,
        by: Caller | None = None,
    ) -> None:
        """Delete an account, and end its sessions and API tokens.

        With its personal workspace, its secrets are erased and its executions cancelled; a workspace that is given or
        kept becomes a shared one, with its flows, executions and secrets.

        Args:
            workspace: What becomes of the personal workspace; None deletes it if it has neither flows nor members.
            to: The account that it is given to.

        Raises: InvalidInput, NotFound; Forbidden if a program gives it; Conflict if no admin would remain, or the
            personal workspace is not empty and ``workspace`` is None.
        """
        if (workspace == "give") != (to is not None):
            raise invalid("to", "is the account that the workspace is given to: send it with 'workspace=give'")
        if to == id:
            raise invalid("to", "is the account that is deleted: give the workspace to another one")
        now = self._clock.now()
        details: dict[str, JSON] = {"workspace": workspace or "delete"}
        entries = [act_on_account(by, "account.deleted", "account", id, at=now, account_id=id, details=details)]
        if by is not None and to is not None:
            authorise(by, Right.APPOINT)
            where, role = personal_workspace(id), {"role": "admin"}
            entries.append(act(by, "member.added", "account", to, at=now, workspace_id=where, details=role))
        members = await self._store.delete(id, at=now, workspace=workspace, to=to, audit=lambda _: entries)
        for changed in (id, *members):
            await self._on_sessions_end(changed)
        if workspace in (None, "delete"):
            await self._on_delete(id)

    async def is_set_up(self) -> bool:
        return await self._store.any()


_NOT_AN_ADDRESS: Final = Fault(path="email", code="email", message=NOT_AN_ADDRESS)
# The account may have another address by now than the one that the admin looked at.
_UNNAMED_ADDRESS: Final = Fault(
    path="email", code="required", message="is required with email_confirmed: it is the address that is confirmed"
)


def _without_repeats(asked: AccountUpdate, before: Account) -> AccountUpdate:
    """Return the request without a role and an address that the account already has."""
    return replace(
        asked,
        role=None if asked.role == before.role else asked.role,
        email=None if asked.email is None or is_address(asked.email, before.email) else asked.email,
    )


def _noticed(before: Account, new: AccountUpdate) -> Sequence[str]:
    """Return the changes of which the owner of the account is notified."""
    if not before.is_email_confirmed:
        return ()
    changed = ["password"] * (new.password is not None) + ["e-mail address"] * (new.email is not None)
    return [f"The {thing} of your account was changed." for thing in changed]


def _check_rights(caller: Caller, asked: AccountUpdate, new: AccountUpdate, before: Account) -> None:
    """Raises: Forbidden; InvalidInput if an address is confirmed that is not given."""
    confirms = new.is_email_confirmed is not None
    if not caller.is_admin:
        has_new_state = new.is_disabled not in (None, before.is_disabled)
        check_needs_no_admin(has_new_role=new.role is not None, has_new_state=has_new_state, confirms_email=confirms)
    if asked.is_email_confirmed and asked.email is None:
        raise InvalidInput([_UNNAMED_ADDRESS])
    if confirms or any(value is not None for value in (new.email, new.role, new.password)):
        authorise(caller, Right.CREDENTIALS)


def _entry_of_update(
    caller: Caller,
    id: AccountId,
    asked: AccountUpdate,
    updated: tuple[Account, bool],
    *,
    at: datetime,
    mails: Sequence[OutgoingMail],
) -> AuditEntry:
    """Return the audit entry of a change. It names the given fields, and has no value of theirs."""
    after, has_ended_sessions = updated
    details: dict[str, JSON] = {
        "given": asked.given,
        "role": after.role,
        "is_disabled": after.is_disabled,
        "has_ended_sessions": has_ended_sessions,
    }
    return act_on_account(
        caller, "account.updated", "account", id, at=at, account_id=id, details=details, mails=tuple(mails)
    )


def _checked(
    *, name: str, email: str, password: str | None, known_email: str | None = None, lacks_current: bool = False
) -> str:
    """Return the normalised address.

    Args:
        known_email: The stored address, which is accepted unchanged: it may be older than today's rules.
        lacks_current: The current password is required and missing.

    Raises:
        InvalidInput: With every fault.
    """
    faults, normal = name_faults(name), email
    try:
        normal = email if email == known_email else normal_email(email)
    except ValueError:
        faults.append(_NOT_AN_ADDRESS)
    if lacks_current:
        faults.append(Fault(path="current_password", code="required", message="Current password is required"))
    if password is not None:
        faults += password_faults(password, email=normal, name=name)
    if faults:
        raise InvalidInput(faults)
    return normal
