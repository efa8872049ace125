"""Tokens in links, each of which gives a right to its owner, and the addresses of the pages that take them."""

import hashlib
import secrets
from typing import Final

_RANDOM_BYTES: Final = 32


def new_token() -> str:
    return secrets.token_urlsafe(_RANDOM_BYTES)


def digest_of_token(token: str) -> str:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def link_to(public_url: str | None, page: str, token: str) -> str:
    """Return the link to a page of the interface, with a token in the fragment, which browsers send to no server.

    Args:
        public_url: The origin that browsers use; None makes the link a path.
    """
    return f"{public_url or ''}{page}#{token}"
