"""Verification of requests from other servers: that the sender holds a shared secret, and sent this body lately.

Each scheme names the headers in which a sender proves itself. A refused request costs the same work as an accepted
one, and comparisons take the same time wherever the texts differ.
"""

import base64
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias, assert_never

from flowrunner.domain.standard_webhooks import body_signature, key_of
from flowrunner.domain.triggers import Algorithm, Encoding
from flowrunner.domain.whole_numbers import natural_number_of

# Longest difference between the sender's clock and ours, in both directions.
WINDOW_SECONDS: Final = 300
# A sender that rotates its keys signs with both.
_MOST_SIGNATURES: Final = 8


@dataclass(frozen=True, slots=True)
class Standard:
    """Standard Webhooks 1.0; the id of a message is seen once."""


@dataclass(frozen=True, slots=True)
class Stripe:
    """Stripe's `Stripe-Signature: t=…,v1=…`, over `t.body`."""


@dataclass(frozen=True, slots=True)
class Slack:
    """Slack's `X-Slack-Signature: v0=…`, over `v0:timestamp:body`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hmac:
    """A header with an HMAC over the body.

    Attributes:
        prefix: Stands before the encoded digest, as `sha256=` does in GitHub's header.
    """

    header: str
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Token:
    """A header that holds the secret itself, after `Bearer ` in an `Authorization` header."""

    header: str


@dataclass(frozen=True, slots=True)
class Unverified:
    """No proof: knowing the URL is enough."""


Scheme: TypeAlias = Standard | Stripe | Slack | Hmac | Token | Unverified

GITHUB: Final = Hmac(header="x-hub-signature-256", prefix="sha256=")


@dataclass(frozen=True, slots=True)
class Verified:
    """An accepted request.

    Attributes:
        replay_id: Equal for repeats of the same message, and signed with it; None if the scheme signs neither an id
            nor a time.
    """

    replay_id: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A request that is not accepted, with the reason."""

    reason: str


Verdict: TypeAlias = Verified | Rejected

MISSING: Final = Rejected("The header with the proof of the sender is missing")
WRONG: Final = Rejected("The signature belongs to another body or another secret")
WRONG_TOKEN: Final = Rejected("The token is wrong")
OLD: Final = Rejected(f"The request was signed more than {WINDOW_SECONDS} seconds ago")
EARLY: Final = Rejected(f"The request was signed more than {WINDOW_SECONDS} seconds in the future")
NO_TIME: Final = Rejected("The time of the signature is not a number of seconds since 1970")
NO_SECRET: Final = Rejected("The secret of the trigger does not exist, or holds no key")


def proof_headers(scheme: Scheme) -> frozenset[str]:
    """Return the headers, in lower case, that would let a reader repeat or forge a request."""
    match scheme:
        case Standard():
            return frozenset({"webhook-signature"})
        case Stripe():
            return frozenset({"stripe-signature"})
        case Slack():
            return frozenset({"x-slack-signature"})
        case Hmac(header=header) | Token(header=header):
            return frozenset({header.lower()})
        case Unverified():
            return frozenset()
        case _:
            assert_never(scheme)


def verify(
    scheme: Scheme, headers: Mapping[str, str], body: bytes, *, secrets: Sequence[str], now: datetime
) -> Verdict:
    """Check the proof of a sender.

    Args:
        headers: By name in lower case.
        secrets: Each of them is accepted, so that one can be replaced without a gap.
    """
    match scheme:
        case Standard():
            return _standard(headers, body, secrets, now)
        case Stripe():
            return _stripe(headers, body, secrets, now)
        case Slack():
            return _slack(headers, body, secrets, now)
        case Hmac():
            return _hmac(scheme, headers, body, secrets)
        case Token(header=header):
            return _token(header, headers, secrets)
        case Unverified():
            return Verified()
        case _:
            assert_never(scheme)


def _standard(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> Verdict:
    id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    sent = [
        signature.removeprefix("v1,")
        for signature in headers.get("webhook-signature", "").split(" ")
        if signature.startswith("v1,")
    ]
    keys = []
    for secret in secrets:
        try:
            keys.append(key_of(secret))
        except ValueError:
            return NO_SECRET
    expected = [body_signature(key, id, timestamp, body) for key in keys]
    if "." in id:
        # Otherwise two ways to divide the signed text into id, time and body would have one signature.
        return WRONG
    return _judge(expected, sent, timestamp, now, replay_id=id) if id else MISSING


def _stripe(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> Verdict:
    parts = [part.strip().partition("=") for part in headers.get("stripe-signature", "").split(",")]
    timestamp = next((value for name, _, value in parts if name == "t"), "")
    sent = [value for name, _, value in parts if name == "v1"]
    signed = timestamp.encode(errors="surrogateescape") + b"." + body
    expected = [_hex("sha256", secret, signed) for secret in secrets]
    return _judge(expected, sent, timestamp, now, replay_id=f"{timestamp}.{_digest_id(expected)}")


def _slack(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now: datetime) -> Verdict:
    timestamp = headers.get("x-slack-request-timestamp", "")
    sent = headers.get("x-slack-signature", "")
    signed = b"v0:" + timestamp.encode(errors="surrogateescape") + b":" + body
    expected = [f"v0={_hex('sha256', secret, signed)}" for secret in secrets]
    return _judge(expected, [sent] if sent else [], timestamp, now, replay_id=f"{timestamp}.{_digest_id(expected)}")


def _hmac(scheme: Hmac, headers: Mapping[str, str], body: bytes, secrets: Sequence[str]) -> Verdict:
    if not secrets:
        return NO_SECRET
    sent = headers.get(scheme.header.lower(), "")
    make = _hex if scheme.encoding == "hex" else _base64
    if scheme.encoding == "hex":
        # Senders differ in the case of the digits.
        prefix, digits = sent[: len(scheme.prefix)], sent[len(scheme.prefix) :]
        sent = prefix + digits.lower()
    expected = [scheme.prefix + make(scheme.algorithm, secret, body) for secret in secrets]
    if not _matches(expected, [sent]):
        return WRONG if sent else MISSING
    return Verified()


def _token(header: str, headers: Mapping[str, str], secrets: Sequence[str]) -> Verdict:
    if not secrets:
        return NO_SECRET
    sent = headers.get(header.lower(), "")
    if header.lower() == "authorization":
        scheme, _, token = sent.partition(" ")
        # Only ASCII spaces: others are bytes of a character in UTF-8 here.
        sent = token.strip(" \t") if scheme.lower() == "bearer" else sent
    # Digests, because a comparison of texts of different lengths would tell the length of the secret.
    expected = [_hex("sha256", "", text.encode()) for secret in secrets for text in _as_received(secret)]
    if not _matches(expected, [_hex("sha256", "", sent.encode(errors="surrogateescape"))]):
        return WRONG_TOKEN if sent else MISSING
    return Verified()


def _as_received(secret: str) -> tuple[str, str]:
    """Return the forms in which a header may show a secret: its bytes, Latin-1 or UTF-8, are read as Latin-1."""
    return secret, secret.encode().decode("latin-1")


def _judge(expected: Sequence[str], sent: Sequence[str], timestamp: str, now: datetime, *, replay_id: str) -> Verdict:
    # Compared first, so that the time of an answer does not tell what is wrong.
    is_right = _matches(expected, sent)
    if not expected:
        return NO_SECRET
    if not sent:
        return MISSING
    signed_at = natural_number_of(timestamp)
    if signed_at is None:
        return NO_TIME
    if not is_right:
        return WRONG
    age = now.timestamp() - signed_at
    if age > WINDOW_SECONDS:
        return OLD
    return EARLY if age < -WINDOW_SECONDS else Verified(replay_id)


def _matches(expected: Sequence[str], sent: Sequence[str]) -> bool:
    is_right = False
    for right in expected:
        for signature in sent[:_MOST_SIGNATURES]:
            is_right |= hmac.compare_digest(right.encode(), signature.encode(errors="surrogateescape"))
    return is_right


def _digest_id(expected: Sequence[str]) -> str:
    return expected[0] if expected else ""


def _hex(algorithm: Algorithm, secret: str, signed: bytes) -> str:
    return hmac.digest(secret.encode(), signed, algorithm).hex()


def _base64(algorithm: Algorithm, secret: str, signed: bytes) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), signed, algorithm)).decode()
