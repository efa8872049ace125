"""The second step of a login, after a right password: a one-time code, a passkey or a recovery code."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from flowrunner.domain.errors import SecondFactorRequired, Unauthorized, invalid
from flowrunner.domain.second_factor import normal_recovery_code, normal_totp
from flowrunner.domain.values import AccountId, personal_workspace
from flowrunner.ports.clock import Clock
from flowrunner.ports.second_factors import (
    FactorUse,
    OneTimeCodes,
    Passkey,
    Passkeys,
    SecondFactorStore,
    StoredFactor,
)
from flowrunner.ports.secrets import ValueSealer
from flowrunner.services.random_tokens import digest_of_token, new_token

CHALLENGE_LIFE: Final = timedelta(minutes=5)
# Answers that one challenge takes; after that the password is asked for again.
MOST_ANSWERS: Final = 5
_WRONG: Final = "The code is wrong, or was used before"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondFactorAnswer:
    """The answer to a challenge: exactly one of its fields."""

    code: str | None = None
    recovery_code: str | None = None
    passkey: Mapping[str, Any] | None = None


def recovery_digest(account_id: AccountId, code: str) -> str:
    """Return what is stored of an account's recovery code."""
    return digest_of_token(f"{account_id}:{code}")


def signed_challenge(challenge: str) -> bytes:
    """Return what a passkey signs for a challenge, from which the challenge cannot be found."""
    return hashlib.sha256(b"passkey:" + challenge.encode("utf-8", "surrogatepass")).digest()


class LoginChallenges:
    """The challenges of accounts whose password was right.

    Args:
        passkeys: None if the installation has no address that passkeys can be bound to.
    """

    def __init__(self, store: SecondFactorStore, passkeys: Passkeys | None, clock: Clock) -> None:
        self._store = store
        self._passkeys = passkeys
        self._clock = clock

    async def open(self, account_id: AccountId, *, password_hash: str) -> SecondFactorRequired:
        """Open a challenge, and return the error that hands it to the client.

        Args:
            password_hash: The one that the password was checked against.

        Raises: Unauthorized if the account has changed since.
        """
        challenge, expires_at = new_token(), self._clock.now() + CHALLENGE_LIFE
        factors = [stored.view for stored in await self._store.of_account(account_id)]
        known = [view.credential_id for view in factors if view.credential_id is not None]
        methods = ["totp"] if any(view.type == "totp" and view.confirmed_at is not None for view in factors) else []
        request = None
        if known and self._passkeys is not None:
            request = self._passkeys.request(signed_challenge(challenge), known=known)
            methods.append("passkey")
        await self._store.open_challenge(
            digest_of_token(challenge), account_id, purpose="login", expires_at=expires_at, password_hash=password_hash
        )
        return SecondFactorRequired(
            challenge=challenge, methods=(*methods, "recovery_code"), expires_at=expires_at, passkey=request
        )


class FactorCheck:
    """The check of an answer to a challenge, which counts before it is looked at."""

    def __init__(
        self,
        store: SecondFactorStore,
        vault: ValueSealer,
        codes: OneTimeCodes,
        passkeys: Passkeys | None,
        clock: Clock,
    ) -> None:
        self._store = store
        self._vault = vault
        self._codes = codes
        self._passkeys = passkeys
        self._clock = clock

    async def count(self, challenge: str, answer: SecondFactorAnswer) -> AccountId:
        """Count the answer, and return whose challenge it is. Raises: InvalidInput, Unauthorized, TooManyRequests."""
        if sum(given is not None for given in (answer.code, answer.recovery_code, answer.passkey)) != 1:
            raise invalid("", "must have exactly one of code, recovery_code and passkey")
        return await self._store.count_attempt(
            digest_of_token(challenge), is_code=answer.code is not None, most=MOST_ANSWERS, at=self._clock.now()
        )

    async def run(self, account_id: AccountId, challenge: str, answer: SecondFactorAnswer) -> FactorUse:
        """Return the use that the answer makes of a factor. Raises: Unauthorized."""
        if answer.recovery_code is not None:
            code = normal_recovery_code(answer.recovery_code)
            if code is None:
                raise Unauthorized(_WRONG)
            return FactorUse(recovery_digest=recovery_digest(account_id, code))
        factors = [
            stored for stored in await self._store.of_account(account_id) if stored.view.confirmed_at is not None
        ]
        if answer.passkey is not None:
            return self._use_passkey(account_id, factors, challenge, answer.passkey)
        code = normal_totp(answer.code or "")
        for stored in factors:
            if code is None or stored.view.type != "totp":
                continue
            step = self._codes.step_of(self.open(account_id, stored), code, at=self._clock.now())
            if step is not None and step > stored.view.counter:
                return FactorUse(id=stored.view.id, counter=step)
        raise Unauthorized(_WRONG)

    def _use_passkey(
        self, account_id: AccountId, factors: list[StoredFactor], challenge: str, answer: Mapping[str, Any]
    ) -> FactorUse:
        given = answer.get("id")
        stored = next((f for f in factors if f.view.credential_id is not None and f.view.credential_id == given), None)
        if stored is None or stored.view.credential_id is None or self._passkeys is None:
            raise Unauthorized("The passkey is not one of this account")
        passkey = Passkey(
            credential_id=stored.view.credential_id, public=self.open(account_id, stored), counter=stored.view.counter
        )
        counter = self._passkeys.check_request(signed_challenge(challenge), answer, passkey)
        return FactorUse(id=stored.view.id, counter=counter)

    def open(self, account_id: AccountId, stored: StoredFactor) -> str:
        """Return the secret of a factor. Raises: WrongKey."""
        return self._vault.open(personal_workspace(account_id), stored.sealed, stored.data_key)
