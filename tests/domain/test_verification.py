"""Proofs of the senders of webhooks, with the examples of their documentation."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from flowrunner.domain.standard_webhooks import key_of, secret_of, signature
from flowrunner.domain.verification import (
    EARLY,
    GITHUB,
    MISSING,
    NO_SECRET,
    NO_TIME,
    OLD,
    WRONG,
    WRONG_TOKEN,
    Hmac,
    Scheme,
    Slack,
    Standard,
    Stripe,
    Token,
    Unverified,
    Verified,
    proof_headers,
    verify,
)

# The specification of Standard Webhooks 1.0, and the first library for it.
STANDARD = (
    (
        "whsec_plJ3nmyCDGBKInavdOK15jsl",
        "msg_loFOjxBNrRLzqYUf",
        1731705121,
        b'{"event_type":"ping","data":{"success":true}}',
        "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
    ),
    (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
)
# docs.github.com, "Validating webhook deliveries".
GITHUB_SECRET, GITHUB_BODY = "It's a Secret to Everybody", b"Hello, World!"
GITHUB_SIGNATURE = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
# docs.slack.dev, "Verifying requests from Slack".
SLACK_SECRET, SLACK_TIME = "8f742231b10e8888abcd99yyyzzz85a5", 1531420618
SLACK_SIGNATURE = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
# Stripe prints no secret with its example; this is the payload and the secret of its libraries' tests, signed by
# `openssl dgst -sha256 -hmac whsec_test_secret`.
STRIPE_SECRET, STRIPE_TIME = "whsec_test_secret", 1492774577
STRIPE_BODY = b'{\n  "id": "evt_test_webhook",\n  "object": "event"\n}'
STRIPE_SIGNATURE = "c2f890decbc5ede7c5060bb9a6d31e0626a4342bacb9aeae2adb1bcea72f9812"


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def standard(index: int = 0, **changed: str) -> tuple[Scheme, dict[str, str], bytes, str, datetime]:
    secret, id, seconds, body, signature = STANDARD[index]
    headers = {"webhook-id": id, "webhook-timestamp": str(seconds), "webhook-signature": signature} | {
        name.replace("_", "-"): value for name, value in changed.items()
    }
    return Standard(), headers, body, secret, at(seconds)


EXAMPLES = {
    "standard": standard(),
    "standard, older": standard(1),
    "github": (GITHUB, {"x-hub-signature-256": GITHUB_SIGNATURE}, GITHUB_BODY, GITHUB_SECRET, datetime.now(UTC)),
    "slack": (
        Slack(),
        {"x-slack-request-timestamp": str(SLACK_TIME), "x-slack-signature": SLACK_SIGNATURE},
        SLACK_BODY,
        SLACK_SECRET,
        datetime.fromtimestamp(SLACK_TIME, UTC),
    ),
    "stripe": (
        Stripe(),
        {"stripe-signature": f"t={STRIPE_TIME},v1={STRIPE_SIGNATURE},v0=6ffbb59b2300aae63f272406069a9788598b792a"},
        STRIPE_BODY,
        STRIPE_SECRET,
        datetime.fromtimestamp(STRIPE_TIME, UTC),
    ),
    "hmac": (
        Hmac(header="X-Sig", algorithm="sha512", encoding="base64", prefix="mac "),
        {"x-sig": "mac " + base64.b64encode(hmac.digest(b"k" * 20, b"hello", hashlib.sha512)).decode()},
        b"hello",
        "k" * 20,
        datetime.now(UTC),
    ),
    "token": (Token("X-Gitlab-Token"), {"x-gitlab-token": "open sesame"}, b"any", "open sesame", datetime.now(UTC)),
    "bearer": (Token("Authorization"), {"authorization": "Bearer sesame"}, b"any", "sesame", datetime.now(UTC)),
}
SIGNED = [name for name in EXAMPLES if name not in ("token", "bearer")]
TIMED = ["standard", "slack", "stripe"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_each_sender_is_accepted(name: str) -> None:
    scheme, headers, body, secret, now = EXAMPLES[name]

    assert isinstance(verify(scheme, headers, body, secrets=[secret], now=now), Verified)


def test_the_parts_of_the_header_of_stripe_may_come_in_any_order() -> None:
    sent = f"v0=x, v1=another, v1={STRIPE_SIGNATURE}, t={STRIPE_TIME}"
    now = datetime.fromtimestamp(STRIPE_TIME, UTC)

    verdict = verify(Stripe(), {"stripe-signature": sent}, STRIPE_BODY, secrets=[STRIPE_SECRET], now=now)

    assert isinstance(verdict, Verified)


@pytest.mark.parametrize("header", ["X-Key", "Authorization"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_token_is_accepted_in_either_encoding_of_a_header(header: str, encoding: str) -> None:
    # The server reads the bytes of headers as Latin-1, where the last byte of this secret in UTF-8 is a space.
    secret = "clé d'accès à"
    sent = secret.encode(encoding).decode("latin-1")
    headers = {header.lower(): f"Bearer {sent}" if header == "Authorization" else sent}

    now = datetime.now(UTC)
    assert verify(Token(header), headers, b"any", secrets=["an older one", secret], now=now) == Verified()
    assert verify(Token(header), headers, b"any", secrets=["clé d'accès â"], now=now) == WRONG_TOKEN


@pytest.mark.parametrize("name", SIGNED)
def test_s54_another_body_is_rejected(name: str) -> None:
    scheme, headers, body, secret, now = EXAMPLES[name]

    assert verify(scheme, headers, body + b" ", secrets=[secret], now=now) == WRONG


@pytest.mark.parametrize("name", EXAMPLES)
def test_s54_another_secret_is_rejected(name: str) -> None:
    scheme, headers, body, secret, now = EXAMPLES[name]

    verdict = verify(scheme, headers, body, secrets=["whsec_" + "A" * 32, secret[:-1] + "x"][1:], now=now)

    assert verdict in (WRONG, WRONG_TOKEN, NO_SECRET)


@pytest.mark.parametrize("name", EXAMPLES)
def test_s54_a_request_without_its_proof_is_rejected(name: str) -> None:
    scheme, headers, body, secret, now = EXAMPLES[name]
    bare = {header: value for header, value in headers.items() if header not in proof_headers(scheme)}

    assert len(bare) < len(headers)
    assert verify(scheme, bare, body, secrets=[secret], now=now) == MISSING


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_trigger_without_a_secret_accepts_nothing(name: str) -> None:
    scheme, headers, body, _, now = EXAMPLES[name]

    assert verify(scheme, headers, body, secrets=[], now=now) == NO_SECRET


@pytest.mark.parametrize("name", EXAMPLES)
def test_s54_either_of_two_secrets_is_accepted_during_a_rotation(name: str) -> None:
    scheme, headers, body, secret, now = EXAMPLES[name]

    for secrets in (["another secret", secret], [secret, "another secret"]):
        assert isinstance(verify(scheme, headers, body, secrets=secrets, now=now), Verified)


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize(
    ("seconds", "verdict"), [(300, None), (301, OLD), (-300, None), (-301, EARLY), (10**7, OLD), (-(10**7), EARLY)]
)
def test_s54_a_signature_is_accepted_for_five_minutes_around_its_time(name: str, seconds: int, verdict: object) -> None:
    scheme, headers, body, secret, now = EXAMPLES[name]

    answered = verify(scheme, headers, body, secrets=[secret], now=now + timedelta(seconds=seconds))

    assert answered == verdict if verdict is not None else isinstance(answered, Verified)


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize("time", ["", "soon", "-1", "1e9", "٣", "9" * 400, "1731705121 ", "é", "\udcff"])
def test_a_time_that_is_no_number_is_rejected(name: str, time: str) -> None:
    scheme, headers, body, secret, now = EXAMPLES[name]
    changed = {
        header: f"t={time},v1={STRIPE_SIGNATURE}"
        if header == "stripe-signature"
        else time
        if "time" in header
        else value
        for header, value in headers.items()
    }

    assert verify(scheme, changed, body, secrets=[secret], now=now) in (NO_TIME, WRONG)


def test_s54_a_changed_time_makes_the_signature_wrong() -> None:
    scheme, headers, body, secret, now = standard(webhook_timestamp=str(STANDARD[0][2] + 60))

    assert verify(scheme, headers, body, secrets=[secret], now=now) == WRONG


def test_s54_a_repeat_is_known_by_its_id_and_by_its_signature() -> None:
    ids = {}
    for name, (scheme, headers, body, secret, now) in EXAMPLES.items():
        verdict = verify(scheme, headers, body, secrets=[secret], now=now)
        assert isinstance(verdict, Verified)
        ids[name] = verdict.replay_id

    assert ids["standard"] == "msg_loFOjxBNrRLzqYUf"
    assert ids["stripe"] == f"{STRIPE_TIME}.{STRIPE_SIGNATURE}"
    assert ids["slack"] == f"{SLACK_TIME}.{SLACK_SIGNATURE}"
    assert ids["github"] is ids["hmac"] is ids["token"] is None


# The headers of a sender that signs with several keys, with these signatures.
SEVERAL: Final[Mapping[str, Callable[[Sequence[str]], dict[str, str]]]] = {
    "standard": lambda sent: {"webhook-signature": " ".join(f"v1,{one}" for one in sent)},
    "stripe": lambda sent: {"stripe-signature": ",".join([f"t={STRIPE_TIME}", *(f"v1={one}" for one in sent)])},
}


@pytest.mark.parametrize("name", SEVERAL)
@pytest.mark.parametrize("place", [0, 1, 2, 7])
def test_one_of_several_signatures_of_a_sender_that_rotates_its_keys_is_enough(name: str, place: int) -> None:
    scheme, headers, body, secret, now = EXAMPLES[name]
    right = {"standard": STANDARD[0][4].removeprefix("v1,"), "stripe": STRIPE_SIGNATURE}[name]
    sent = ["wrong"] * place + [right] + ["wrong"] * (7 - place)

    assert isinstance(verify(scheme, headers | SEVERAL[name](sent), body, secrets=[secret], now=now), Verified)
    assert verify(scheme, headers | SEVERAL[name](["wrong"] * 8 + [right]), body, secrets=[secret], now=now) == WRONG


def test_signatures_of_other_kinds_are_passed_over() -> None:
    secret, id, seconds, body, signature = STANDARD[0]
    sent = {"webhook-id": id, "webhook-timestamp": str(seconds), "webhook-signature": f"v1a,x v1,wrong {signature}"}

    assert isinstance(verify(Standard(), sent, body, secrets=[secret], now=at(seconds)), Verified)


def test_an_id_with_a_dot_is_rejected_because_its_signature_may_belong_to_another_time() -> None:
    secret, _, seconds, _, _ = STANDARD[0]
    headers = signature(secret, "msg", str(seconds), f"{seconds}.body".encode())
    moved = dict(headers) | {"webhook-id": f"msg.{seconds}"}

    assert isinstance(
        verify(Standard(), headers, f"{seconds}.body".encode(), secrets=[secret], now=at(seconds)), Verified
    )
    assert verify(Standard(), moved, b"body", secrets=[secret], now=at(seconds)) == WRONG


@pytest.mark.parametrize(
    "secret", ["whsec_", "whsec_not base64", "whsec_ä", "whsec_QUFB QUFB", "whsec_QUF-QUFB_Q", "whsec_QUFB\n"]
)
def test_a_secret_without_a_key_accepts_nothing(secret: str) -> None:
    scheme, headers, body, _, now = standard()

    assert verify(scheme, headers, body, secrets=[secret], now=now) == NO_SECRET


def test_hexadecimal_digits_may_have_either_case() -> None:
    sent = {"x-hub-signature-256": "sha256=" + GITHUB_SIGNATURE.removeprefix("sha256=").upper()}

    assert verify(GITHUB, sent, GITHUB_BODY, secrets=[GITHUB_SECRET], now=datetime.now(UTC)) == Verified()


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("value", ["", "\udcff", "é" * 100, "v1,", "v0=", "t=,v1=", "sha256=", "=" * 1000, ", ,"])
def test_any_text_as_a_proof_is_rejected_without_an_error(name: str, value: str) -> None:
    scheme, headers, body, secret, now = EXAMPLES[name]
    sent: Mapping[str, str] = headers | dict.fromkeys(proof_headers(scheme), value)

    assert not isinstance(verify(scheme, sent, body, secrets=[secret], now=now), Verified)


def test_nothing_is_proved_where_nothing_is_verified() -> None:
    assert verify(Unverified(), {}, b"", secrets=[], now=datetime.now(UTC)) == Verified()
    assert proof_headers(Unverified()) == frozenset()


def test_a_key_is_read_from_the_secret_that_is_made_of_it() -> None:
    assert key_of(secret_of(b"\x00\xff" * 16)) == b"\x00\xff" * 16
