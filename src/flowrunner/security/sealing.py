"""Bytes sealed with a passphrase: scrypt and AES-256-GCM."""

import os
import unicodedata
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from flowrunner.domain.errors import FlowRunnerError

_SHORTEST_PASSPHRASE: Final = 12
_FORMAT: Final = b"flowrunner sealed 1"
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
# 128 MiB and some tenths of a second for each guess. The values belong to the format: a file cannot ask for more.
_COST: Final = {"n": 2**17, "r": 8, "p": 1}


class WeakPassphrase(FlowRunnerError):
    """A passphrase that can be guessed."""


class WrongPassphrase(FlowRunnerError):
    """Sealed bytes that the passphrase does not open, or that were changed."""


def check_passphrase(passphrase: str) -> None:
    """Raise WeakPassphrase if the passphrase is too short to seal anything with."""
    if len(passphrase) < _SHORTEST_PASSPHRASE:
        raise WeakPassphrase(f"The passphrase is too short: take at least {_SHORTEST_PASSPHRASE} characters")


def seal(data: bytes, passphrase: str, *, bound_to: bytes) -> bytes:
    """Encrypt the data, so that only the passphrase opens it.

    Args:
        bound_to: Bytes that the reader has to present unchanged.

    Raises:
        WeakPassphrase: If it is too short.
    """
    check_passphrase(passphrase)
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    return _FORMAT + salt + nonce + _cipher(passphrase, salt).encrypt(nonce, data, _FORMAT + bound_to)


def unseal(sealed: bytes, passphrase: str, *, bound_to: bytes) -> bytes:
    """Return the data. Raises: WrongPassphrase."""
    body = sealed.removeprefix(_FORMAT)
    if len(body) == len(sealed):
        raise WrongPassphrase("The sealed keys were written by another version, or are damaged")
    salt, nonce = body[:_SALT_BYTES], body[_SALT_BYTES : _SALT_BYTES + _NONCE_BYTES]
    try:
        return _cipher(passphrase, salt).decrypt(nonce, body[_SALT_BYTES + _NONCE_BYTES :], _FORMAT + bound_to)
    except (InvalidTag, ValueError):
        raise WrongPassphrase(
            "The passphrase does not open the keys in the backup: repeat the command with the one that they were "
            "sealed with"
        ) from None


def _cipher(passphrase: str, salt: bytes) -> AESGCM:
    # The same characters can be typed as different code points.
    typed = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    return AESGCM(Scrypt(salt=salt, length=32, **_COST).derive(typed))
