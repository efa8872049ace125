"""Operations on what the caller logs in with beside a password: second factors, and accounts of providers."""

from flowrunner.client.calls import Call, call
from flowrunner.client.models import FactorList, IdentityList, LoginMethods, Message, NewRecoveryCodes, Totp
from flowrunner.client.operations import Group, K, operation
from flowrunner.client.requests import segment


class SecondFactors(Group[K]):
    """Second factors of the caller. Changes require a login within the last 15 minutes."""

    @operation("listSecondFactors")
    def list(self) -> Call[FactorList]:
        """Return the second factors."""
        return call(FactorList, "GET", "/second-factors")

    @operation("startTotp")
    def start_totp(self, name: str | None = None) -> Call[Totp]:
        """Make a key for an authenticator app, which counts once it is confirmed."""
        return call(Totp, "POST", "/second-factors/totp", body={"name": name})

    @operation("confirmTotp")
    def confirm_totp(self, id: str, code: str) -> Call[NewRecoveryCodes]:
        """Confirm a key with a code of the app. The first second factor comes with recovery codes."""
        return call(NewRecoveryCodes, "POST", f"/second-factors/{segment(id)}/confirm", body={"code": code})

    @operation("newRecoveryCodes")
    def new_recovery_codes(self) -> Call[NewRecoveryCodes]:
        """Replace the recovery codes. The earlier ones become invalid."""
        return call(NewRecoveryCodes, "POST", "/second-factors/recovery-codes")

    @operation("removeSecondFactor")
    def remove(self, id: str) -> Call[Message]:
        """Remove a second factor. The recovery codes are removed with the last one."""
        return call(Message, "DELETE", f"/second-factors/{segment(id)}")


class Identities(Group[K]):
    """Accounts of providers by which the caller logs in."""

    @operation("listLoginMethods")
    def methods(self) -> Call[LoginMethods]:
        """Return how accounts log in here."""
        return call(LoginMethods, "GET", "/auth/methods")

    @operation("listIdentities")
    def list(self) -> Call[IdentityList]:
        """Return the accounts of providers that the caller's account is linked to."""
        return call(IdentityList, "GET", "/identities")

    @operation("unlinkIdentity")
    def unlink(self, id: str) -> Call[Message]:
        """End the link to an account of a provider, unless the caller could not log in any more."""
        return call(Message, "DELETE", f"/identities/{segment(id)}")
