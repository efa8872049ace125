"""Logins by SCRAM-SHA-256, with the binding to the certificate of the server where it offers that.

Sources: RFC 5802, RFC 7677, RFC 5929 (tls-server-end-point), RFC 4013 (SASLprep).
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import stringprep
import unicodedata
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

# PostgreSQL's own number is 4,096. These take half a second of a processor.
_MOST_ITERATIONS: Final = 1_000_000
_PLAIN: Final = "SCRAM-SHA-256"
_BOUND: Final = "SCRAM-SHA-256-PLUS"
_PROHIBITED: Final = (
    *(stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4),
    *(stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8),
    *(stringprep.in_table_c9, stringprep.in_table_a1),
)


class ScramFailed(Exception):
    """A login that cannot go on; the message tells why."""


class Scram:
    """One login.

    Args:
        offered: Mechanisms that the server offers.
        certificate: Its certificate in DER; None without TLS.

    Attributes:
        mechanism: The one to be used.
        is_verified: The server has proved that it knows the password's verifier.

    Raises:
        ScramFailed: As every method.
    """

    def __init__(self, password: str, offered: list[str], certificate: bytes | None) -> None:
        self._password = password
        self.is_verified = False
        binding = None if certificate is None else _binding_of(certificate)
        if _BOUND in offered and binding is not None:
            self.mechanism, self._header, binding_data = _BOUND, b"p=tls-server-end-point,,", binding
        elif _PLAIN in offered:
            # `y` tells a server that would offer the binding that somebody between has removed the offer.
            self.mechanism, binding_data = _PLAIN, b""
            self._header = b"n,," if binding is None else b"y,,"
        else:
            raise ScramFailed("it offers no mechanism that is known")
        self._binding = base64.b64encode(self._header + binding_data)
        self._nonce = base64.b64encode(secrets.token_bytes(24))
        # PostgreSQL takes the name of the user from the beginning of the session.
        self._first = b"n=,r=" + self._nonce
        self._server_signature: bytes | None = None

    @property
    def is_bound(self) -> bool:
        """Return whether the login is bound to the certificate."""
        return self.mechanism == _BOUND

    def first(self) -> bytes:
        return self._header + self._first

    def final(self, challenge: bytes) -> bytes:
        """Return the answer to the server's first message."""
        if self._server_signature is not None:
            raise ScramFailed("it has sent a second challenge")
        fields = _fields(challenge)
        nonce, salt = fields.get(b"r", b""), _decoded(fields.get(b"s", b""))
        digits = fields.get(b"i", b"")
        if not nonce.startswith(self._nonce) or nonce == self._nonce or not salt or not digits.isdigit():
            raise ScramFailed("its challenge is invalid")
        if len(digits) > 7 or not 1 <= (iterations := int(digits)) <= _MOST_ITERATIONS:
            raise ScramFailed(f"it asks for other than 1 to {_MOST_ITERATIONS} iterations")
        salted = hashlib.pbkdf2_hmac("sha256", _prepared(self._password), salt, iterations)
        bare = b"c=" + self._binding + b",r=" + nonce
        signed = b",".join((self._first, challenge, bare))
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        proof = bytes(left ^ right for left, right in zip(client_key, signature, strict=True))
        self._server_signature = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        return bare + b",p=" + base64.b64encode(proof)

    def check(self, final: bytes) -> None:
        """Check the server's proof."""
        proof = _decoded(_fields(final).get(b"v", b""))
        if self._server_signature is None or not hmac.compare_digest(proof, self._server_signature):
            raise ScramFailed("it has not proved that it knows the password")
        self.is_verified = True


def _fields(text: bytes) -> dict[bytes, bytes]:
    return {part[:1]: part[2:] for part in text.split(b",", 10) if part[1:2] == b"="}


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ScramFailed("its challenge is invalid") from None


def _prepared(password: str) -> bytes:
    """Return the password by SASLprep, or unchanged if that prohibits it, as PostgreSQL does."""
    if password.isascii():
        return password.encode()
    mapped = "".join(" " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c))
    normal = unicodedata.normalize("NFKC", mapped)
    if not normal or any(is_in(c) for c in normal for is_in in _PROHIBITED):
        return password.encode()
    if any(map(stringprep.in_table_d1, normal)) and (
        any(map(stringprep.in_table_d2, normal))
        or not (stringprep.in_table_d1(normal[0]) and stringprep.in_table_d1(normal[-1]))
    ):
        return password.encode()
    return normal.encode()


def _binding_of(certificate: bytes) -> bytes | None:
    """Return the digest that binds a login to a certificate; None if none is defined for its signature."""
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return None
    if algorithm is None:
        return None
    name = "sha256" if algorithm.name in ("md5", "sha1") else algorithm.name
    return hashlib.new(name, certificate).digest() if name in ("sha256", "sha384", "sha512") else None
