"""The codes of an authenticator app."""

import base64
import time

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP


def code_of(secret: str, *, steps: int = 0, at: float | None = None) -> str:
    """Return the code of a key, so many time steps of 30 seconds after a moment or the present one."""
    moment = time.time() if at is None else at
    return HOTP(base64.b32decode(secret), 6, SHA1()).generate(int(moment) // 30 + steps).decode()
