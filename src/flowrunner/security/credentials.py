"""Password hashes and signed tokens."""

import os
import time
from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from functools import cache, partial
from typing import Any, Final

import argon2
import jwt
from argon2.low_level import error_to_str

from flowrunner.domain.errors import Unauthorized, Unavailable
from flowrunner.domain.values import SessionId
from flowrunner.ports.sessions import NewSession
from flowrunner.ports.sign_on import LoginState
from flowrunner.security.hashing_queue import HashingQueue
from flowrunner.security.keys import KeyRing

# OWASP's minimum for argon2id: 19 MiB, two passes, one lane.
_ARGON2: Final = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1, type=argon2.Type.ID)
_MOST_AT_ONCE: Final = 2
# The messages of errors that say nothing about a password: no memory, and no thread (<argon2.h>).
_LACKING: Final = frozenset(map(error_to_str, (-22, -33)))


class Argon2Hasher:
    """Implements `ports.PasswordHasher`, with few hashes at a time to limit memory.

    One processor stays free for other work if there is more than one.
    """

    def __init__(self) -> None:
        self._queue = HashingQueue(min(_MOST_AT_ONCE, max(1, (os.cpu_count() or 1) - 1)))

    async def hash(self, password: str, *, source: str) -> str:
        return await self._queue.run(partial(_hashed, _bytes(password)), source=source)

    async def verify(self, password_hash: str | None, password: str, *, source: str) -> bool:
        return await self._queue.run(partial(_matches, password_hash, _bytes(password)), source=source)

    def is_outdated(self, password_hash: str) -> bool:
        return _ARGON2.check_needs_rehash(password_hash)

    def close(self) -> None:
        self._queue.close()


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")


def _hashed(password: bytes) -> str:
    """Raises: Unavailable: There is no memory or no thread for it."""
    try:
        return _ARGON2.hash(password)
    except argon2.exceptions.HashingError as error:
        raise Unavailable(f"The password cannot be hashed now: {error}") from None


@cache
def _hash_of_nobody() -> str:
    return _hashed(b"a password that nobody has")


def _matches(password_hash: str | None, password: bytes) -> bool:
    # Verified in place of a missing hash, so that the answer takes the same time. Computed in advance, so that the
    # first such answer does too.
    of_nobody = _hash_of_nobody()
    try:
        return _ARGON2.verify(password_hash or of_nobody, password) and password_hash is not None
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError) as error:
        if str(error) in _LACKING:
            # Whether it is the right one is unknown.
            raise Unavailable(f"The password cannot be checked now: {error}") from None
        return False


ISSUER: Final = "flowrunner"
AUDIENCE: Final = "flowrunner-api"
ACCESS: Final = "access"
_ALGORITHM: Final = "HS256"
# Several servers sign tokens, and their clocks differ. Without an allowance, one that is some milliseconds behind would
# reject every token of the present second.
_MOST_AHEAD_SECONDS: Final = 30
_REQUIRED: Final = ("exp", "nbf", "iat", "iss", "aud", "sub", "jti", "typ")
_HEADER: Final = {"alg", "typ", "kid"}
LONGEST_TOKEN: Final = 4096


class JwtIssuer:
    """Implements `ports.TokenIssuer` with HMAC-signed JWTs.

    A token contains its session's id (`jti`). The caller must check that the session has not ended.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys

    def issue(self, session: NewSession, *, now: datetime) -> str:
        issued_at = int(now.timestamp())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "typ": ACCESS,
            "sub": session.account_id,
            "jti": session.id,
            "iat": issued_at,
            "nbf": issued_at,
            "exp": int(session.expires_at.timestamp()),
        }
        return self._sign(claims)

    def verify(self, token: str) -> SessionId:
        claims = self._opened(token, audience=AUDIENCE, required=_REQUIRED)
        if claims["typ"] != ACCESS:
            raise Unauthorized("The token is not valid: log in again")
        return SessionId(claims["jti"])

    def _sign(self, claims: dict[str, Any]) -> str:
        return jwt.encode(claims, self._keys.present, algorithm=_ALGORITHM, headers={"kid": self._keys.id})

    def _opened(self, token: str, *, audience: str, required: Sequence[str]) -> dict[str, Any]:
        """Return the claims of a token. Raises: Unauthorized."""
        if len(token) > LONGEST_TOKEN:
            raise Unauthorized("The token is not valid: log in again")
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.find(header.get("kid", ""))
            if not header.keys() <= _HEADER or key is None:
                raise Unauthorized("The token is not valid: log in again")
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                issuer=ISSUER,
                audience=audience,
                options={"require": list(required), "verify_nbf": False, "verify_iat": False},
            )
            if max([int(claims.get(name, 0)) for name in ("nbf", "iat")]) > time.time() + _MOST_AHEAD_SECONDS:
                raise jwt.ImmatureSignatureError
        except jwt.ExpiredSignatureError:
            raise Unauthorized("The token has expired: log in again") from None
        except (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError):
            # Besides its own errors, the library raises those of base64 and JSON.
            raise Unauthorized("The token is not valid: log in again") from None
        return claims


# Keeps the state of a login by a provider from being accepted as the token of a session.
_STATE_AUDIENCE: Final = "flowrunner-sign-on"
_OF_STATE: Final = ("exp", "iss", "aud", "provider", "state", "nonce", "verifier", "next", "session")


class StateTokens(JwtIssuer):
    """Implements `ports.StateSigner` with tokens of another audience than those of sessions."""

    def sign(self, state: LoginState, *, expires_at: datetime) -> str:
        claims = {field.name: getattr(state, field.name) for field in fields(state)}
        return self._sign({**claims, "iss": ISSUER, "aud": _STATE_AUDIENCE, "exp": int(expires_at.timestamp())})

    def open(self, text: str) -> LoginState:
        claims = self._opened(text, audience=_STATE_AUDIENCE, required=[c for c in _OF_STATE if c != "session"])
        values: dict[str, Any] = {field.name: claims.get(field.name) for field in fields(LoginState)}
        return LoginState(**values)
