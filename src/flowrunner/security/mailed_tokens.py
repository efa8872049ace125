"""Tokens of links in e-mails: derived from seeds, so that they are not stored, and signed for the mailbox alone."""

import base64
import hashlib
import hmac
import secrets
from typing import Final

from flowrunner.security.keys import KeyRing

_SIGNATURE: Final = b"flowrunner mailed token"
_DERIVATION: Final = b"flowrunner derived token"
_RANDOM_BYTES: Final = 32


class SignedMailedTokens:
    """Implements `ports.MailedTokens`.

    Args:
        keys: The keys of the installation for signatures. A signature is valid as long as one of them has made it.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def new(self) -> tuple[str, str]:
        seed = f"{self._keys.id}.{secrets.token_urlsafe(_RANDOM_BYTES)}"
        return _mac(self._keys.present, _DERIVATION, seed), seed

    def derived(self, seed: str) -> str | None:
        key = self._keys.find(seed.partition(".")[0])
        return None if key is None else _mac(key, _DERIVATION, seed)

    def mailed(self, token: str) -> str:
        return f"{token}.{_signature(self._keys.present, token)}"

    def read(self, text: str) -> tuple[str, bool]:
        token, _, signature = text.partition(".")
        given = signature.encode("utf-8", "surrogatepass")
        keys = [key for id in self._keys.ids if (key := self._keys.find(id)) is not None]
        # All are compared, so that the time tells nothing.
        are_equal = [hmac.compare_digest(_signature(key, token).encode(), given) for key in keys]
        return token, any(are_equal)


def _signature(key: bytes, token: str) -> str:
    return _mac(key, _SIGNATURE, token)


def _mac(key: bytes, purpose: bytes, text: str) -> str:
    own = hmac.digest(key, purpose, hashlib.sha256)
    signed = hmac.digest(own, text.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()
