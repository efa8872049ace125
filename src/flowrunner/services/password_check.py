"""The check of a password by a login, or by a request that requires the current one."""

from flowrunner.domain.errors import TooManyRequests, Unauthorized, Unavailable
from flowrunner.domain.values import AccountId
from flowrunner.ports.accounts import NO_PASSWORD, AccountStore, Credential, PasswordHasher
from flowrunner.ports.clock import Clock
from flowrunner.services.audit import AuditLog
from flowrunner.services.throttle import Throttle


class PasswordCheck:
    """Password verification with one throttle and one audit trail for every place that takes a password.

    Args:
        throttle: Counts failed checks.
    """

    def __init__(
        self,
        accounts: AccountStore,
        *,
        audit: AuditLog,
        hasher: PasswordHasher,
        clock: Clock,
        throttle: Throttle | None = None,
    ) -> None:
        self._accounts = accounts
        self._audit = audit
        self._hasher = hasher
        self._clock = clock
        self._throttle = throttle or Throttle()

    async def run(self, email: str, password: str, *, address: str, source: str) -> Credential:
        """Return the account with this e-mail address, and the hash that the password was checked against.

        Args:
            email: The normalised address, or any text that no account has.
            address: The client's address; failures are also counted by it.
            source: The key of the fair queue in front of the hasher.

        Raises:
            Unauthorized: The same for an unknown address and a wrong password.
            TooManyRequests.
            QueueFull: Too many passwords wait to be checked.
        """
        try:
            self._throttle.attempt(email, address, now=self._clock.now())
        except TooManyRequests:
            self._audit.login_refused(lambda: self._named(email), address=address)
            raise
        try:
            credential = await self._accounts.credential(email)
            # An account without a password takes as long as an unknown one.
            known = None if credential is None or credential.password_hash == NO_PASSWORD else credential.password_hash
            is_right = await self._hasher.verify(known, password, source=source)
        except Unavailable:
            self._throttle.give_back(email, address)
            raise
        if not is_right or credential is None:
            self._audit.login_failed(None if credential is None else credential.account.id, address=address)
            raise Unauthorized("The username or the password is wrong")
        self._throttle.succeeded(email, address)
        return credential

    async def _named(self, email: str) -> AccountId | None:
        credential = await self._accounts.credential(email)
        return None if credential is None else credential.account.id
