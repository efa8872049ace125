"""Accounts: made, changed and deleted by admins; seen and changed by their own."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

from flowrunner.domain.account import Account, Caller, Role, normal_email, password_faults
from flowrunner.domain.audit import AuditEntry, act
from flowrunner.domain.errors import Fault, Forbidden, InvalidInput, NotFound
from flowrunner.domain.values import JSON, AccountId
from flowrunner.ports import AccountStore, Clock, Page, PasswordHasher
from flowrunner.services.ids import new_id
from flowrunner.services.rates import Allowance

# Passwords that an account may change in a minute. Each takes as much of the processors as a login does, and
# of the hashes that are made at once there are few.
MOST_PASSWORDS: Final = 60


class Accounts:
    """Args:
    on_sessions_end: Told of an account whose sessions have ended.
    on_delete: Told of an account that is gone.
    """

    def __init__(
        self,
        store: AccountStore,
        hasher: PasswordHasher,
        clock: Clock,
        *,
        on_sessions_end: Callable[[AccountId], Awaitable[None]],
        on_delete: Callable[[AccountId], Awaitable[None]],
    ) -> None:
        self._store = store
        self._hasher = hasher
        self._clock = clock
        self._on_sessions_end = on_sessions_end
        self._on_delete = on_delete
        self._passwords: Allowance[AccountId] = Allowance(
            MOST_PASSWORDS,
            limit="account_passwords",
            message="This account changes more than {most} passwords a minute: wait before the next one",
        )

    async def create(self, *, name: str, email: str, password: str, role: Role, by: Caller | None = None) -> Account:
        """Raises: InvalidInput; Conflict if the address is taken."""
        entry = AuditEntry(at=self._clock.now(), action="account.created", object=("account", ""), credential="server")
        if by is not None:
            entry = act(by, entry.action, "account", "", at=entry.at)
        return await self._create(
            name=name, email=email, password=password, role=role, only_if_first=False, entry=entry
        )

    async def create_first(self, *, name: str, email: str, password: str, address: str | None = None) -> Account:
        """The account that sets the server up. Raises: InvalidInput; Conflict if there is one.

        Args:
            address: Of whoever has the set-up token; None if it is the server itself.
        """
        entry = AuditEntry(
            at=self._clock.now(),
            action="account.created",
            object=("account", ""),
            credential="server" if address is None else "setup",
            address=address or "",
        )
        return await self._create(
            name=name, email=email, password=password, role="admin", only_if_first=True, entry=entry
        )

    async def _create(
        self, *, name: str, email: str, password: str, role: Role, only_if_first: bool, entry: AuditEntry
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
        )
        password_hash = await self._hasher.hash(password, source=entry.actor or entry.address)
        entry = replace(entry, object=("account", account.id), account_id=account.id, details={"role": role})
        await self._store.create(account, password_hash=password_hash, only_if_first=only_if_first, audit=entry)
        return account

    async def get(self, caller: Caller, id: AccountId) -> Account:
        """Raises: NotFound, also for an account that the caller may not see."""
        if not (caller.is_admin or caller.account_id == id):
            raise NotFound("account")
        return await self._store.get(id)

    async def page(self, *, role: Role | None, page: Page) -> tuple[Sequence[Account], int]:
        return await self._store.page(role=role, page=page)

    async def update(
        self,
        caller: Caller,
        id: AccountId,
        *,
        name: str | None,
        email: str | None,
        role: Role | None,
        password: str | None,
        is_disabled: bool | None = None,
    ) -> Account:
        """Change what is given.

        A new role or password ends the account's sessions, and so does disabling it; a new password ends its
        API tokens too. A disabled account has no login, and its API tokens are refused until it is enabled.

        Raises: NotFound, InvalidInput, Forbidden, TooManyRequests; Conflict if the address is taken or no active
            admin would remain.
        """
        before = await self.get(caller, id)
        if role is not None and role != before.role and not caller.is_admin:
            raise Forbidden("Only an admin can change a role")
        if is_disabled is not None and is_disabled != before.is_disabled and not caller.is_admin:
            raise Forbidden("Only an admin can disable an account")
        checked = _checked(
            name=before.name if name is None else name,
            email=before.email if email is None else email,
            password=password,
        )
        password_hash = None
        if password is not None:
            self._passwords.take(caller.account_id, at=self._clock.now())
            password_hash = await self._hasher.hash(password, source=caller.account_id)
        now = self._clock.now()
        given = {"name": name, "email": email, "role": role, "password": password, "is_disabled": is_disabled}

        def audit(updated: tuple[Account, bool]) -> AuditEntry:
            after, has_ended_sessions = updated
            details: dict[str, JSON] = {
                "given": [field for field, value in given.items() if value is not None],
                "role": after.role,
                "is_disabled": after.is_disabled,
                "has_ended_sessions": has_ended_sessions,
            }
            return act(caller, "account.updated", "account", id, at=now, account_id=id, details=details)

        after, has_ended_sessions = await self._store.update(
            id,
            by=caller.account_id,
            at=now,
            name=name,
            email=None if email is None else checked,
            role=role,
            password_hash=password_hash,
            is_disabled=is_disabled,
            audit=audit,
        )
        if has_ended_sessions:
            await self._on_sessions_end(id)
        return after

    async def delete(self, id: AccountId, *, by: Caller | None = None) -> None:
        """End its sessions and API tokens, erase its secrets and cancel its executions.

        Raises: NotFound; Conflict if no admin would remain.
        """
        now = self._clock.now()
        entry = AuditEntry(at=now, action="account.deleted", object=("account", id), account_id=id, credential="server")
        if by is not None:
            entry = act(by, entry.action, "account", id, at=now, account_id=id)
        await self._store.delete(id, at=now, audit=entry)
        await self._on_sessions_end(id)
        await self._on_delete(id)

    async def is_set_up(self) -> bool:
        return await self._store.any()


def _checked(*, name: str, email: str, password: str | None) -> str:
    """The address in its normal form. Raises: InvalidInput with every fault."""
    faults: list[Fault] = []
    if not name.strip():
        faults.append(Fault(path="name", code="required", message="Name is required"))
    normal = email
    try:
        normal = normal_email(email)
    except ValueError as error:
        faults.append(Fault(path="email", code="email", message=str(error)))
    if password is not None:
        faults += password_faults(password, email=normal, name=name)
    if faults:
        raise InvalidInput(faults)
    return normal
