"""Logins with a password, up to the session or the second step that follows."""

import contextlib
from dataclasses import replace

from flowrunner.domain.email_address import sought_email
from flowrunner.domain.errors import PasswordLoginDisabled, QueueFull, Unavailable
from flowrunner.ports.accounts import AccountStore, Credential, PasswordHasher
from flowrunner.services.password_check import PasswordCheck
from flowrunner.services.rates import source_of
from flowrunner.services.second_step import LoginChallenges


class PasswordLogins:
    """The check of a password that logs in.

    Args:
        challenges: Opens the second step of a login; None if no account has a second factor.

    Attributes:
        are_accepted: False if only a provider of single sign-on logs in.
    """

    def __init__(
        self,
        passwords: PasswordCheck,
        accounts: AccountStore,
        hasher: PasswordHasher,
        *,
        challenges: LoginChallenges | None = None,
        are_accepted: bool = True,
    ) -> None:
        self._passwords = passwords
        self._accounts = accounts
        self._hasher = hasher
        self._challenges = challenges
        self.are_accepted = are_accepted

    async def check(self, username: str, password: str, *, address: str) -> Credential:
        """Return the account that may log in, with the stored hash of its password. Raises: as `Sessions.login`."""
        if not self.are_accepted:
            raise PasswordLoginDisabled
        source = source_of(address)
        credential = await self._passwords.run(sought_email(username), password, address=address, source=source)
        verified = credential.password_hash
        if self._hasher.is_outdated(verified):
            # Not urgent: the next login tries again.
            with contextlib.suppress(QueueFull, Unavailable):
                renewed = await self._hasher.hash(password, source=source)
                if await self._accounts.rehash(credential.account.id, old=verified, new=renewed):
                    credential = replace(credential, password_hash=renewed)
        if credential.has_second_factor and self._challenges is not None:
            raise await self._challenges.open(credential.account.id, password_hash=credential.password_hash)
        return credential
