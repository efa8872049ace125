"""Time-based one-time codes (RFC 6238), and their QR codes."""

import base64
import secrets
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP

# What every authenticator app supports. The construction needs no resistance against collisions.
_DIGITS: Final = 6
_STEP_SECONDS: Final = 30
# RFC 4226 recommends 160 bits.
_KEY_BYTES: Final = 20


class TotpCodes:
    """Implements `ports.OneTimeCodes`. Args: issuer: The name of the installation in authenticator apps."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer

    def new_secret(self) -> str:
        return base64.b32encode(secrets.token_bytes(_KEY_BYTES)).decode()

    def step_of(self, secret: str, code: str, *, at: datetime) -> int | None:
        hotp = HOTP(base64.b32decode(secret), _DIGITS, SHA1())  # noqa: S303 # nosec B303
        present, found = int(at.timestamp()) // _STEP_SECONDS, None
        # The loop always goes on to its end, so that its time tells nothing about the code.
        for step in (present - 1, present, present + 1):
            if bytes_eq(hotp.generate(step), code.encode("utf-8", "surrogatepass")):
                found = step
        return found

    def uri(self, secret: str, *, account: str) -> str:
        label = quote(f"{self._issuer}:{account}", safe=":@")
        return f"otpauth://totp/{label}?{urlencode({'secret': secret, 'issuer': self._issuer})}"

    def picture(self, uri: str) -> str:
        import segno

        # White around the code, as scanners expect it, also on a dark page.
        picture: str = segno.make(uri, error="m", micro=False).svg_data_uri(
            scale=4, border=4, light="#fff", dark="#000"
        )
        return picture
