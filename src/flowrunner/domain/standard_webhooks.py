"""Signatures of Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

_OF_BASE64: Final = "whsec_"


def key_of(secret: str) -> bytes:
    """Return the signing key of a secret: the base64 after `whsec_`, or else its text.

    Raises: ValueError if it begins with `whsec_` and has no base64 after it.
    """
    if not secret.startswith(_OF_BASE64):
        return secret.encode()
    try:
        # Text that is not ASCII raises ValueError itself, not binascii.Error.
        key = base64.b64decode(secret.removeprefix(_OF_BASE64), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError(f"must have its key as base64 after {_OF_BASE64}")
    return key


def secret_of(key: bytes) -> str:
    """Return the secret that `key_of` reads as this key."""
    return _OF_BASE64 + base64.b64encode(key).decode()


def body_signature(key: bytes, id: str, timestamp: str, body: bytes) -> str:
    """Return the signature of a message without its version."""
    signed = f"{id}.{timestamp}.".encode(errors="surrogateescape") + body
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def signature(secret: str, id: str, timestamp: str, body: bytes, *, previous: str | None = None) -> Mapping[str, str]:
    """Return the headers that prove the sender of a message.

    Args:
        previous: The secret that a receiver may still know instead; there are two signatures then.

    Raises: ValueError if a secret holds no key.
    """
    secrets = (secret,) if previous is None else (secret, previous)
    return {
        "webhook-id": id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{body_signature(key_of(each), id, timestamp, body)}" for each in secrets),
    }
