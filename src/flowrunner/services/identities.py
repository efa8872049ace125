"""Links of accounts to accounts of single sign-on providers: their list and their end."""

from collections.abc import Awaitable, Callable, Collection, Sequence

from flowrunner.domain.account import Caller, Right, authorise
from flowrunner.domain.audit import act_on_account
from flowrunner.domain.errors import Forbidden
from flowrunner.domain.values import AccountId
from flowrunner.ports.clock import Clock
from flowrunner.ports.sign_on import Identity, IdentityStore
from flowrunner.services.login_mails import LoginMails
from flowrunner.services.logins import check_recent_login, session_of


class Identities:
    """Use cases of the links that `SignOn` has made.

    Args:
        issuers: Those of the providers that log in here.
        accepts_passwords: Accounts log in with a password, too, if they have one.
        on_access_change: Called with an account whose logins have ended.
    """

    def __init__(
        self,
        store: IdentityStore,
        login_mails: LoginMails,
        clock: Clock,
        *,
        issuers: Collection[str],
        accepts_passwords: bool,
        on_access_change: Callable[[AccountId], Awaitable[None]],
    ) -> None:
        self._store = store
        self._login_mails = login_mails
        self._clock = clock
        self._issuers = issuers
        self._accepts_passwords = accepts_passwords
        self._on_access_change = on_access_change

    async def of_account(self, caller: Caller) -> tuple[Sequence[Identity], bool]:
        """Return the identities of the caller, and whether it has a password besides."""
        session_of(caller)
        return await self._store.of_account(caller.account_id)

    async def unlink(self, caller: Caller, id: str) -> None:
        """Raises: NotFound; Conflict if the account could not log in any more; RecentLoginRequired, Forbidden."""
        now = self._clock.now()
        check_recent_login(caller, at=now)
        change, account_id = "A link of your account to one of a provider has ended.", caller.account_id
        with self._login_mails.about(account_id, change) as mails:
            entry = act_on_account(
                caller, "identity.unlinked", "identity", id, at=now, account_id=account_id, mails=mails
            )
            await self._store.remove(
                account_id,
                id,
                issuers=self._issuers,
                accepts_passwords=self._accepts_passwords,
                audit=entry,
            )

    async def reset(self, caller: Caller, id: AccountId) -> None:
        """End all links of another account, and its logins, which may have been made by them.

        Raises: Forbidden, NotFound.
        """
        authorise(caller, Right.CREDENTIALS)
        if id == caller.account_id:
            raise Forbidden("An admin ends the links of other accounts: end your own one by one")
        with self._login_mails.about(id, "An admin has ended all links of your account to providers.") as mails:
            now = self._clock.now()
            entry = act_on_account(caller, "identities.reset", "account", id, at=now, account_id=id, mails=mails)
            await self._store.remove_all(id, audit=entry)
        await self._on_access_change(id)
