"""Passkeys (WebAuthn) of one origin."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

from flowrunner.domain.errors import Unauthorized
from flowrunner.domain.values import AccountId
from flowrunner.ports.second_factors import Passkey

if TYPE_CHECKING:
    from fido2.server import Fido2Server

T = TypeVar("T")

_WRONG: Final = "The passkey has not signed this request"
# An id has at most so many (Web Authentication, 5.1.3). Keys of the longest algorithm have a third of the other number.
_MOST_ID_BYTES: Final = 1023
_MOST_BYTES: Final = 8 * 1024


def can_have_passkeys(origin: str | None) -> bool:
    """Return whether browsers accept passkeys at an origin: at a name, over TLS, or on this machine."""
    if origin is None:
        return False
    parts = urlsplit(origin)
    host = parts.hostname or ""
    is_name = any(character.isalpha() for character in host.rpartition(".")[2]) and ":" not in host
    return is_name and (parts.scheme == "https" or host == "localhost")


class Fido2Passkeys:
    """Implements `ports.Passkeys`. Args: origin: The address of the installation, of which `can_have_passkeys`."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._made: Fido2Server | None = None

    @property
    def _server(self) -> "Fido2Server":
        if self._made is None:
            # The import takes as long as a tenth of a start.
            from fido2.server import Fido2Server
            from fido2.webauthn import PublicKeyCredentialRpEntity

            host = urlsplit(self._origin).hostname
            party = PublicKeyCredentialRpEntity(id=host, name="FlowRunner")
            self._made = Fido2Server(party, verify_origin=lambda origin: origin == self._origin)
        return self._made

    def creation(
        self, challenge: bytes, account_id: AccountId, *, name: str, known: Sequence[str]
    ) -> Mapping[str, Any]:
        from fido2.webauthn import PublicKeyCredentialUserEntity

        user = PublicKeyCredentialUserEntity(id=account_id.encode()[:64], name=name, display_name=name)
        options, _ = self._server.register_begin(
            user, credentials=[_descriptor(id) for id in known], challenge=challenge, **_PREFERRED
        )
        return _plain_options(options)

    def check_creation(self, challenge: bytes, answer: Mapping[str, Any]) -> Passkey:
        def check() -> Passkey:
            from fido2.webauthn import RegistrationResponse

            data = self._server.register_complete(self._state(challenge), answer)
            credential = data.credential_data
            if credential is None:
                raise ValueError("no credential")
            if RegistrationResponse.from_dict(answer).response.client_data.cross_origin:
                raise ValueError("made in a page of another origin")
            # The library takes any key: of one that it does not know, or that is long, no login could make use.
            algorithms = [offered.alg for offered in self._server.allowed_algorithms]
            if credential.public_key.get(3) not in algorithms or len(bytes(credential)) > _MOST_BYTES:
                raise ValueError("not one of the algorithms that were offered")
            if not 0 < len(credential.credential_id) <= _MOST_ID_BYTES:
                raise ValueError("no id that a browser gives")
            return Passkey(
                credential_id=_text(credential.credential_id), public=_text(bytes(credential)), counter=data.counter
            )

        return _checked(check)

    def request(self, challenge: bytes, *, known: Sequence[str]) -> Mapping[str, Any]:
        options, _ = self._server.authenticate_begin([_descriptor(id) for id in known], challenge=challenge)
        return _plain_options(options)

    def check_request(self, challenge: bytes, answer: Mapping[str, Any], passkey: Passkey) -> int:
        def check() -> int:
            from fido2.webauthn import AttestedCredentialData, AuthenticationResponse

            known = AttestedCredentialData(_bytes(passkey.public))
            self._server.authenticate_complete(self._state(challenge), [known], answer)
            response = AuthenticationResponse.from_dict(answer).response
            if response.client_data.cross_origin:
                raise ValueError("signed in a page of another origin")
            return response.authenticator_data.counter

        return _checked(check)

    def _state(self, challenge: bytes) -> Mapping[str, Any]:
        return {"challenge": _text(challenge), "user_verification": None}


_PREFERRED: Final[Mapping[str, Any]] = {"resident_key_requirement": "discouraged"}


def _checked(check: Callable[[], T]) -> T:
    """Return the result of a check. Raises: Unauthorized, whatever the library raises for what a client has sent."""
    try:
        return check()
    except Exception as error:
        raise Unauthorized(_WRONG) from error


def _descriptor(id: str) -> Any:
    from fido2.webauthn import PublicKeyCredentialDescriptor, PublicKeyCredentialType

    return PublicKeyCredentialDescriptor(type=PublicKeyCredentialType.PUBLIC_KEY, id=_bytes(id))


def _plain_options(options: Any) -> Mapping[str, Any]:
    """Return the options as the library writes them for browsers: JSON, with binary data in base 64."""
    plain: Mapping[str, Any] = dict(options)["publicKey"]
    return plain


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
