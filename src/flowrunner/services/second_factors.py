"""Second factors of an account: enrolment, removal, and recovery codes."""

import base64
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flowrunner.domain.account import Caller, Right, authorise, name_faults
from flowrunner.domain.audit import AuditEntry, act_on_account
from flowrunner.domain.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthorized, invalid
from flowrunner.domain.mails import OutgoingMail
from flowrunner.domain.second_factor import (
    MAX_FACTORS,
    RECOVERY_CODES,
    normal_totp,
    shown_recovery_code,
)
from flowrunner.domain.values import JSON, AccountId, FactorId, personal_workspace
from flowrunner.ids import new_id
from flowrunner.ports.accounts import AccountStore
from flowrunner.ports.clock import Clock
from flowrunner.ports.second_factors import (
    FactorView,
    OneTimeCodes,
    Passkeys,
    SecondFactorStore,
)
from flowrunner.ports.secrets import ValueSealer
from flowrunner.services.login_mails import LoginMails
from flowrunner.services.logins import check_recent_login, session_of
from flowrunner.services.random_tokens import digest_of_token, new_token
from flowrunner.services.second_step import (
    CHALLENGE_LIFE,
    FactorCheck,
    recovery_digest,
    signed_challenge,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTotp:
    """A key of one-time codes, which is shown once. Args: picture: Its QR code, as a data URI."""

    id: FactorId
    secret: str
    uri: str
    picture: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPasskey:
    """The options with which a browser makes a passkey, and the challenge that it answers."""

    challenge: str
    options: Mapping[str, Any]


class SecondFactors:
    """Use cases of second factors.

    Args:
        passkeys: None if the installation has no address that passkeys can be bound to.
    """

    def __init__(
        self,
        store: SecondFactorStore,
        accounts: AccountStore,
        check: FactorCheck,
        clock: Clock,
        *,
        vault: ValueSealer,
        codes: OneTimeCodes,
        passkeys: Passkeys | None,
        login_mails: LoginMails,
        on_sessions_end: Callable[[AccountId], Awaitable[None]],
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._check = check
        self._vault = vault
        self._codes = codes
        self._passkeys = passkeys
        self._clock = clock
        self._login_mails = login_mails
        self._on_sessions_end = on_sessions_end

    @property
    def has_passkeys(self) -> bool:
        """Return whether the installation has an address that passkeys can be bound to."""
        return self._passkeys is not None

    async def list(self, caller: Caller) -> tuple[Sequence[FactorView], int]:
        """Return the confirmed factors of the account, and how many recovery codes are left."""
        session_of(caller)
        stored = await self._store.of_account(caller.account_id)
        left = await self._store.count_recovery_codes(caller.account_id)
        return [factor.view for factor in stored if factor.view.confirmed_at is not None], left

    async def start_totp(self, caller: Caller, *, name: str) -> NewTotp:
        """Make a key of one-time codes, which counts once it is confirmed by a code.

        Raises: InvalidInput, LimitReached, RecentLoginRequired, Forbidden.
        """
        now = self._clock.now()
        check_recent_login(caller, at=now)
        _check_name(name)
        account = await self._accounts.get(caller.account_id)
        id, secret = FactorId(new_id("factor", now)), self._codes.new_secret()
        view = FactorView(id=id, type="totp", name=name, created_at=now)
        seal = self._vault.sealer(personal_workspace(caller.account_id), id, secret)
        await self._store.add(caller.account_id, view, seal, most=MAX_FACTORS)
        uri = self._codes.uri(secret, account=account.email)
        return NewTotp(id=id, secret=secret, uri=uri, picture=self._codes.picture(uri))

    async def confirm_totp(self, caller: Caller, id: FactorId, code: str) -> Sequence[str]:
        """Confirm a key with a code of it; return the recovery codes if it is the account's first factor.

        Raises: NotFound; InvalidInput for a wrong code; RecentLoginRequired, Forbidden, Unauthorized.
        """
        now = self._clock.now()
        session = check_recent_login(caller, at=now)
        factors = await self._store.of_account(caller.account_id)
        pending = next((f for f in factors if f.view.id == id and f.view.confirmed_at is None), None)
        if pending is None:
            raise NotFound("second factor")
        digits, secret = normal_totp(code), self._check.open(caller.account_id, pending)
        step = None if digits is None else self._codes.step_of(secret, digits, at=now)
        if step is None:
            raise invalid("code", "is not the code that the app shows now: check the clock of the device", code="wrong")
        recovery, digests = _new_recovery_codes(caller.account_id)
        change = "An authenticator app was added to your account as a second factor."
        with self._login_mails.about(caller.account_id, change) as mails:
            entry = _own(caller, "second_factor.added", "second_factor", id, at=now, type="totp", mails=mails)
            is_first = await self._store.confirm(
                caller.account_id, id, counter=step, session=session, recovery=digests, at=now, audit=entry
            )
        await self._on_sessions_end(caller.account_id)
        return recovery if is_first else ()

    async def start_passkey(self, caller: Caller) -> NewPasskey:
        """Return what a browser needs to make a passkey. Raises: Conflict, RecentLoginRequired, Forbidden."""
        now = self._clock.now()
        check_recent_login(caller, at=now)
        passkeys = self._passkeys_or_raise()
        account = await self._accounts.get(caller.account_id)
        challenge = new_token()
        stored = await self._store.of_account(caller.account_id)
        known = [f.view.credential_id for f in stored if f.view.credential_id is not None]
        options = passkeys.creation(signed_challenge(challenge), caller.account_id, name=account.email, known=known)
        await self._store.open_challenge(
            digest_of_token(challenge), caller.account_id, purpose="passkey", expires_at=now + CHALLENGE_LIFE
        )
        return NewPasskey(challenge=challenge, options=options)

    async def add_passkey(
        self, caller: Caller, *, challenge: str, name: str, answer: Mapping[str, Any]
    ) -> tuple[FactorView, Sequence[str]]:
        """Add the passkey that a browser has made; return it, and recovery codes as `confirm_totp` does.

        Raises: InvalidInput, Conflict, LimitReached, Unauthorized, RecentLoginRequired, Forbidden.
        """
        now = self._clock.now()
        session = check_recent_login(caller, at=now)
        _check_name(name)
        try:
            passkey = self._passkeys_or_raise().check_creation(signed_challenge(challenge), answer)
        except Unauthorized as error:
            raise invalid("passkey", str(error), code="wrong") from None
        id = FactorId(new_id("factor", now))
        view = FactorView(
            id=id,
            type="passkey",
            name=name,
            created_at=now,
            confirmed_at=now,
            counter=passkey.counter,
            credential_id=passkey.credential_id,
        )
        seal = self._vault.sealer(personal_workspace(caller.account_id), id, passkey.public)
        recovery, digests = _new_recovery_codes(caller.account_id)
        change = "A passkey was added to your account as a second factor."
        with self._login_mails.about(caller.account_id, change) as mails:
            is_first = await self._store.add_confirmed(
                caller.account_id,
                view,
                seal,
                challenge=digest_of_token(challenge),
                session=session,
                recovery=digests,
                most=MAX_FACTORS,
                audit=_own(caller, "second_factor.added", "second_factor", id, at=now, type="passkey", mails=mails),
            )
        await self._on_sessions_end(caller.account_id)
        return view, recovery if is_first else ()

    def _passkeys_or_raise(self) -> Passkeys:
        if self._passkeys is None:
            raise Conflict("Passkeys need an address to be bound to: an operator sets FLOWRUNNER_PUBLIC_URL")
        return self._passkeys

    async def remove(self, caller: Caller, id: FactorId) -> None:
        """Remove a factor of the account. Raises: NotFound, RecentLoginRequired, Forbidden."""
        now = self._clock.now()
        check_recent_login(caller, at=now)
        with self._login_mails.about(caller.account_id, "A second factor of your account was removed.") as mails:
            entry = _own(caller, "second_factor.removed", "second_factor", id, at=now, mails=mails)
            await self._store.remove(caller.account_id, id, audit=entry)

    async def new_recovery_codes(self, caller: Caller) -> Sequence[str]:
        """Replace the recovery codes. Raises: Conflict without a second factor; RecentLoginRequired, Forbidden."""
        now = self._clock.now()
        check_recent_login(caller, at=now)
        codes, digests = _new_recovery_codes(caller.account_id)
        with self._login_mails.about(caller.account_id, "The recovery codes of your account were replaced.") as mails:
            entry = _own(caller, "recovery_codes.replaced", "account", caller.account_id, at=now, mails=mails)
            await self._store.replace_recovery_codes(caller.account_id, digests, at=now, audit=entry)
        return codes

    async def reset(self, caller: Caller, id: AccountId) -> None:
        """Remove all second factors of another account, and end its logins. Raises: Forbidden, NotFound."""
        authorise(caller, Right.CREDENTIALS)
        if id == caller.account_id:
            raise Forbidden("An admin resets the second factors of other accounts: remove your own one by one")
        now = self._clock.now()
        with self._login_mails.about(id, "An admin has removed all second factors of your account.") as mails:
            entry = act_on_account(caller, "second_factors.reset", "account", id, at=now, account_id=id, mails=mails)
            await self._store.reset(id, audit=entry)
        await self._on_sessions_end(id)


def _own(
    caller: Caller,
    action: str,
    kind: str,
    id: str,
    *,
    at: datetime,
    mails: tuple[OutgoingMail, ...],
    type: str | None = None,
) -> AuditEntry:
    details: dict[str, JSON] = {} if type is None else {"type": type}
    return act_on_account(caller, action, kind, id, at=at, account_id=caller.account_id, details=details, mails=mails)


def _check_name(name: str) -> None:
    if faults := name_faults(name):
        raise InvalidInput(faults)


def _new_recovery_codes(account_id: AccountId) -> tuple[list[str], list[str]]:
    """Return new recovery codes of 80 random bits as people write them, and their digests."""
    codes = [base64.b32encode(secrets.token_bytes(10)).decode().lower() for _ in range(RECOVERY_CODES)]
    return [shown_recovery_code(code) for code in codes], [recovery_digest(account_id, code) for code in codes]
