"""Operations on accounts, their logins and API tokens, and the secrets of their personal workspaces."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from flowrunner.client.calls import Call, Listing, call, listing
from flowrunner.client.models import (
    Account,
    ListedSecret,
    LoginToken,
    Message,
    NewToken,
    Preferences,
    ResetLink,
    Secret,
    Session,
    Token,
)
from flowrunner.client.operations import Group, K, list_operation, operation
from flowrunner.client.requests import key_or_new, segment


class Accounts(Group[K]):
    """Accounts. `me` is the id of the caller's."""

    @list_operation("listAccounts")
    def list(self, *, role: Literal["admin", "user", "viewer"] | None = None) -> Listing[Account]:
        """List the accounts of the installation, for admins."""
        return listing("/accounts", Account, role=role)

    @operation("createAccount")
    def create(
        self,
        name: str,
        email: str,
        password: str,
        *,
        role: Literal["admin", "user", "viewer"] | None = None,
        email_confirmed: bool | None = None,
        idempotency_key: str | None = None,
    ) -> Call[Account]:
        """Create an account, for admins who have logged in."""
        body = {
            "name": name, "email": email, "password": password, "role": role, "email_confirmed": email_confirmed,
        }  # fmt: skip
        return call(Account, "POST", "/accounts", body=body, key=key_or_new(idempotency_key))

    @operation("getAccount")
    def get(self, id: str = "me") -> Call[Account]:
        """Return an account."""
        return call(Account, "GET", f"/accounts/{segment(id)}")

    @operation("updateAccount")
    def update(
        self,
        id: str = "me",
        *,
        name: str | None = None,
        email: str | None = None,
        role: Literal["admin", "user", "viewer"] | None = None,
        password: str | None = None,
        current_password: str | None = None,
        disabled: bool | None = None,
        email_confirmed: bool | None = None,
    ) -> Call[Account]:
        """Change what is given of an account."""
        body = {
            "name": name, "email": email, "role": role, "password": password, "current_password": current_password,
            "disabled": disabled, "email_confirmed": email_confirmed,
        }  # fmt: skip
        return call(Account, "PUT", f"/accounts/{segment(id)}", body=body)

    @operation("sendEmailConfirmation")
    def send_email_confirmation(self) -> Call[Message]:
        """Have a link that confirms the address of the caller's account sent to it."""
        return call(Message, "POST", "/accounts/me/email-confirmation")

    @operation("confirmEmail")
    def confirm_email(self, token: str) -> Call[Account]:
        """Confirm the address of the caller's account with the token that follows the `#` of the link."""
        return call(Account, "POST", "/accounts/me/email-confirmation/confirm", body={"token": token})

    @operation("deleteAccount")
    def delete(
        self, id: str, *, workspace: Literal["delete", "give", "keep"] | None = None, to: str | None = None
    ) -> Call[Message]:
        """Delete an account, and decide what becomes of its personal workspace.

        Args:
            to: The id of the account that gets the workspace.
        """
        return call(Message, "DELETE", f"/accounts/{segment(id)}", query={"workspace": workspace, "to": to})

    @operation("resetIdentities")
    def reset_identities(self, id: str) -> Call[Message]:
        """End all links of another account to providers, and its logins, for admins who have logged in."""
        return call(Message, "DELETE", f"/accounts/{segment(id)}/identities")

    @operation("resetSecondFactors")
    def reset_second_factors(self, id: str) -> Call[Message]:
        """Remove all second factors of another account, and end its logins, for admins who have logged in."""
        return call(Message, "DELETE", f"/accounts/{segment(id)}/second-factors")

    @operation("createPasswordReset")
    def create_password_reset(self, id: str) -> Call[ResetLink]:
        """Make a link with which an account sets a new password, for admins who have logged in."""
        return call(ResetLink, "POST", f"/accounts/{segment(id)}/password-reset")

    @operation("getPreferences")
    def preferences(self) -> Call[Preferences]:
        """Return what the caller prefers in the web interface."""
        return call(Preferences, "GET", "/accounts/me/preferences")

    @operation("setPreferences")
    def set_preferences(self, preferences: Mapping[str, Any], *, if_match: str | None = None) -> Call[Preferences]:
        """Replace what the caller prefers in the web interface.

        Args:
            if_match: The `etag` of the preferences as they were read: if they have changed since, nothing is changed.
        """
        headers, body = {"If-Match": if_match}, {"preferences": preferences}
        return call(Preferences, "PUT", "/accounts/me/preferences", body=body, headers=headers)


class Secrets(Group[K]):
    """Secrets of personal workspaces. `Workspaces` has those of shared ones."""

    @list_operation("listSecrets")
    def list(self, account_id: str = "me") -> Listing[ListedSecret]:
        """List the secrets, without their values."""
        return listing(f"/accounts/{segment(account_id)}/secrets", ListedSecret)

    @operation("createSecret")
    def set(self, key: str, value: str, *, account_id: str = "me", idempotency_key: str | None = None) -> Call[Secret]:
        """Create a secret, or replace the value of one."""
        path, sent = f"/accounts/{segment(account_id)}/secrets", key_or_new(idempotency_key)
        return call(Secret, "POST", path, body={"key": key, "value": value}, key=sent)

    @operation("deleteSecret")
    def delete(self, key: str, *, account_id: str = "me") -> Call[Message]:
        """Delete a secret."""
        return call(Message, "DELETE", f"/accounts/{segment(account_id)}/secrets/{segment(key)}")


class Tokens(Group[K]):
    """API tokens of the caller."""

    @list_operation("listTokens")
    def list(self) -> Listing[Token]:
        """List the tokens without their secret part."""
        return listing("/tokens", Token)

    @operation("createToken")
    def create(
        self, name: str, scopes: Sequence[str], *, expires_in: str | None = None, idempotency_key: str | None = None
    ) -> Call[NewToken]:
        """Create an API token, which is in this answer only. It reaches the workspace in which the client acts.

        Args:
            scopes: Of `read`, `run`, `write`, `members` and `admin`.
            expires_in: A duration, such as `90d`.
        """
        body, key = {"name": name, "scopes": scopes, "expires_in": expires_in}, key_or_new(idempotency_key)
        return call(NewToken, "POST", "/tokens", body=body, key=key)

    @operation("revokeToken")
    def revoke(self, id: str) -> Call[Message]:
        """Revoke a token at once."""
        return call(Message, "DELETE", f"/tokens/{segment(id)}")


class Sessions(Group[K]):
    """Logins of the caller."""

    @operation("login")
    def login(self, username: str, password: str) -> Call[LoginToken]:
        """Return the token of a new login. `Client.login` does the same, and uses the token."""
        return call(LoginToken, "POST", "/auth/login", body={"username": username, "password": password})

    @operation("finishLogin")
    def finish_login(
        self, challenge: str, *, code: str | None = None, recovery_code: str | None = None
    ) -> Call[LoginToken]:
        """Return the token of a login that needs a second factor: with one of `code` and `recovery_code`.

        Args:
            challenge: From `details["second_factor"]` of the error that the login was answered with.
        """
        body = {"challenge": challenge, "code": code, "recovery_code": recovery_code}
        return call(LoginToken, "POST", "/auth/second-factor", body=body)

    @operation("askForPasswordReset")
    def ask_for_password_reset(self, email: str) -> Call[Message]:
        """Have a link to set a new password sent by e-mail, if there is such an account."""
        return call(Message, "POST", "/auth/password-reset", body={"email": email})

    @operation("setNewPassword")
    def set_new_password(self, token: str, password: str) -> Call[Message]:
        """Set a new password with the token that follows the `#` of a link. All logins and API tokens end."""
        return call(Message, "POST", "/auth/new-password", body={"token": token, "password": password})

    @operation("refresh")
    def refresh(self) -> Call[LoginToken]:
        """Return a new token of the login whose token the client has. The old one ends within ten seconds."""
        return call(LoginToken, "POST", "/auth/refresh")

    @operation("logout")
    def logout(self) -> Call[Message]:
        """End the login whose token the client has, with all its tokens."""
        return call(Message, "POST", "/auth/logout")

    @list_operation("listSessions")
    def list(self) -> Listing[Session]:
        """List the logins that have not ended, the newest first."""
        return listing("/sessions", Session)

    @operation("endSession")
    def end(self, id: str) -> Call[Message]:
        """End a login at once."""
        return call(Message, "DELETE", f"/sessions/{segment(id)}")

    @operation("endOtherSessions")
    def end_others(self) -> Call[Message]:
        """End all logins but the one whose token the client has."""
        return call(Message, "DELETE", "/sessions")
