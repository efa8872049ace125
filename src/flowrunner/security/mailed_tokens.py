"""Signatures on tokens of links that were sent by e-mail, and to nobody else."""

import base64
import hashlib
import hmac
from typing import Final

from flowrunner.security.keys import KeyRing

_PURPOSE: Final = b"flowrunner mailed token"


class SignedMailedTokens:
    """Implements `ports.MailedTokens`.

    Args:
        keys: The keys of the installation for signatures. A signature is valid as long as one of them has made it.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

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
    own = hmac.digest(key, _PURPOSE, hashlib.sha256)
    signed = hmac.digest(own, token.encode("utf-8", "surrogatepass"), hashlib.sha256)
    return base64.urlsafe_b64encode(signed).rstrip(b"=").decode()
