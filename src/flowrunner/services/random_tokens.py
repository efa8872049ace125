"""Random tokens, each of which gives a right to its owner. Only their digests are stored."""

import hashlib
import secrets
from typing import Final

_RANDOM_BYTES: Final = 32


def new_token() -> str:
    return secrets.token_urlsafe(_RANDOM_BYTES)


def digest_of_token(token: str) -> str:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
