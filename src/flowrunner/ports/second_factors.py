"""The store of second factors, and the parts that make and check them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol, TypeAlias

from flowrunner.domain.second_factor import FactorType
from flowrunner.domain.values import AccountId, FactorId, SessionId
from flowrunner.ports.audit import Audit
from flowrunner.ports.secrets import Seal, SealedSecret, WrappedKey
from flowrunner.ports.sessions import NewSession

ChallengePurpose: TypeAlias = Literal["login", "passkey"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorView:
    """A second factor without its secret.

    Attributes:
        confirmed_at: When its first correct code came; until then it is None, and logins do not need it.
        counter: The time step of the last accepted code, or the last count of signatures.
        credential_id: The id of a passkey, in base 64.
    """

    id: FactorId
    type: FactorType
    name: str
    created_at: datetime
    confirmed_at: datetime | None = None
    last_used_at: datetime | None = None
    counter: int = 0
    credential_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFactor:
    """A second factor with its sealed secret: the key of codes, or the public key of a passkey."""

    view: FactorView
    sealed: SealedSecret
    data_key: WrappedKey | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorUse:
    """The use of a second factor by a login: a factor with its new counter, or the digest of a recovery code."""

    id: FactorId | None = None
    counter: int = 0
    recovery_digest: str | None = None


class SecondFactorStore(Protocol):
    async def add(
        self, account_id: AccountId, factor: FactorView, seal: Seal, *, most: int, audit: Audit = None
    ) -> None:
        """Add a factor that is not confirmed; it replaces an earlier one of this kind. Raises: LimitReached."""
        ...

    async def confirm(
        self,
        account_id: AccountId,
        id: FactorId,
        *,
        counter: int,
        session: SessionId,
        recovery: Sequence[str],
        at: datetime,
        audit: Audit = None,
    ) -> bool:
        """Confirm a factor; return whether it is the account's first.

        The first one comes with recovery codes, and ends the account's other logins. The login of ``session`` counts
        as made with a second factor from then on.

        Args:
            recovery: Digests of new recovery codes.

        Raises: NotFound if there is no such factor to confirm; Unauthorized if the session has ended.
        """
        ...

    async def add_confirmed(
        self,
        account_id: AccountId,
        factor: FactorView,
        seal: Seal,
        *,
        challenge: str,
        session: SessionId,
        recovery: Sequence[str],
        most: int,
        audit: Audit = None,
    ) -> bool:
        """Add a factor as `confirm` does, and use up the challenge that it was made for.

        Raises: LimitReached; Conflict if it is registered already; Unauthorized if the challenge is not valid, or the
            session has ended.
        """
        ...

    async def of_account(self, account_id: AccountId) -> Sequence[StoredFactor]: ...
    async def count_recovery_codes(self, account_id: AccountId) -> int: ...

    async def replace_recovery_codes(
        self, account_id: AccountId, digests: Sequence[str], *, at: datetime, audit: Audit = None
    ) -> None:
        """Raises: Conflict if the account has no second factor."""
        ...

    async def remove(self, account_id: AccountId, id: FactorId, *, audit: Audit = None) -> None:
        """Remove a factor, and with the last one the recovery codes. Raises: NotFound."""
        ...

    async def reset(self, account_id: AccountId, *, audit: Audit = None) -> int:
        """Remove all factors and recovery codes, and end all logins of the account; return the number of factors.

        Raises: NotFound if there is no such account.
        """
        ...

    async def open_challenge(
        self,
        digest: str,
        account_id: AccountId,
        *,
        purpose: ChallengePurpose,
        expires_at: datetime,
        password_hash: str | None = None,
    ) -> None:
        """Open a challenge.

        Args:
            password_hash: The hash that the account must still have; None for any.

        Raises: Unauthorized if the account has changed, or is disabled.
        """
        ...

    async def count_attempt(self, digest: str, *, is_code: bool, most: int, at: datetime) -> AccountId:
        """Count an answer to the challenge of a login before it is checked; return the account.

        Args:
            is_code: The answer is a one-time code, which counts as a wrong one until `accept`.
            most: Limit of answers to one challenge.

        Raises: Unauthorized if the challenge is not valid; TooManyRequests after wrong codes.
        """
        ...

    async def accept(
        self, digest: str, account_id: AccountId, use: FactorUse, session: NewSession, *, at: datetime, audit: Audit
    ) -> None:
        """Use up the challenge, record the use, reset the count of wrong codes, and open the session, in one commit.

        Raises: Unauthorized if the code was used before, the challenge is no longer valid, or the account has changed.
        """
        ...


class OneTimeCodes(Protocol):
    """Time-based one-time codes (RFC 6238) of six digits and 30 seconds."""

    def new_secret(self) -> str:
        """Return a new secret, in base 32."""
        ...

    def step_of(self, secret: str, code: str, *, at: datetime) -> int | None:
        """Return the time step of a code: the present one, or the one before or after it; None for a wrong code."""
        ...

    def uri(self, secret: str, *, account: str) -> str:
        """Return the `otpauth` URI that authenticator apps read."""
        ...

    def picture(self, uri: str) -> str:
        """Return a QR code of a URI, as an SVG in a data URI."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Passkey:
    """A registered passkey: its id in base 64, its public key, and its count of signatures."""

    credential_id: str
    public: str
    counter: int


class Passkeys(Protocol):
    """Passkeys (WebAuthn) of one origin. Both checks raise Unauthorized."""

    def creation(
        self, challenge: bytes, account_id: AccountId, *, name: str, known: Sequence[str]
    ) -> Mapping[str, Any]:
        """Return the options with which a browser makes a passkey. Args: known: Ids of passkeys to exclude."""
        ...

    def check_creation(self, challenge: bytes, answer: Mapping[str, Any]) -> Passkey: ...

    def request(self, challenge: bytes, *, known: Sequence[str]) -> Mapping[str, Any]:
        """Return the options with which a browser signs a challenge."""
        ...

    def check_request(self, challenge: bytes, answer: Mapping[str, Any], passkey: Passkey) -> int:
        """Return the new count of signatures, which the store compares with the last one."""
        ...
