"""Requests of other servers as values, and the answers to their URL verifications."""

import gzip
import json
from typing import Any

import pytest

from flowrunner.domain.errors import InvalidInput
from flowrunner.domain.triggers import Verify
from flowrunner.domain.verification import GITHUB, Hmac, Scheme, Slack, Standard, Stripe, Token, Unverified
from flowrunner.services.hook_requests import HookRequest, body_value, challenge_of, trigger_values
from flowrunner.services.hook_senders import scheme_of


def request(body: bytes = b"", query: str = "", **headers: str) -> HookRequest:
    return HookRequest(
        method="POST",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        query=query,
        body=body,
    )


@pytest.mark.parametrize(
    ("content_type", "body", "value"),
    [
        ("application/json", b'{"a": [1, "x"]}', {"a": [1, "x"]}),
        ("Application/JSON; charset=utf-8", b"null", None),
        ("application/cloudevents+json", b"[1]", [1]),
        ("application/x-www-form-urlencoded", b"a=1&b=&a=2&c=%C3%A4+x", {"a": ["1", "2"], "b": "", "c": "ä x"}),
        ("application/x-www-form-urlencoded", b"a=%FF%00", {"a": "\ufffd\ufffd"}),
        ("text/plain", "grün".encode(), "grün"),
        ("text/plain; charset=ISO-8859-1", "grün".encode("latin-1"), "grün"),
        ("application/xml", b"<a/>", "<a/>"),
        ("text/plain", b"\xff", "/w=="),
        ("text/plain", b"a\x00", "YQA="),
        ("application/octet-stream", b"\x00\x01", "AAE="),
        ("", b"any", "YW55"),
        ("application/json", b"", None),
    ],
)
def test_a_body_is_read_as_its_type_says(content_type: str, body: bytes, value: object) -> None:
    assert body_value(content_type, body) == value


@pytest.mark.parametrize(
    "body", [b"{", b'{"a": 1, "a": 2}', b"NaN", b'"\\ud800"', b'"\\u0000"', b"[" * 100_000, b"9" * 5000, b"\xff"]
)
def test_a_body_that_is_not_the_json_it_claims_to_be_is_rejected(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="body"):
        body_value("application/json", body)


def test_a_form_has_a_limited_number_of_fields() -> None:
    with pytest.raises(InvalidInput, match="more than 1000 fields"):
        body_value("application/x-www-form-urlencoded", b"a&" * 1001)


@pytest.mark.parametrize("content_type", ["application/json", "a/b+json", "application/x-www-form-urlencoded"])
def test_a_compressed_body_that_would_be_read_is_rejected_as_such(content_type: str) -> None:
    compressed = request(gzip.compress(b"{}"), content_type=content_type, content_encoding="GZip")

    with pytest.raises(InvalidInput, match="body: is compressed"):
        trigger_values(compressed)


@pytest.mark.parametrize(("body", "encoding", "value"), [(b"[1]", "identity", [1]), (b"", "gzip", None)])
def test_a_body_that_is_not_compressed_is_read_whatever_its_headers_say(
    body: bytes, encoding: str, value: object
) -> None:
    read = trigger_values(request(body, content_type="application/json", content_encoding=encoding))

    assert read["body"] == value


def test_flows_read_the_body_the_headers_and_the_query() -> None:
    read = trigger_values(request(b"[1]", query="a=1&b=2&b=3", content_type="application/json", x_kind="push"))

    assert read == {
        "body": [1],
        "headers": {"content-type": "application/json", "x-kind": "push"},
        "query": {"a": "1", "b": ["2", "3"]},
    }


@pytest.mark.parametrize(
    ("scheme", "header"),
    [
        (GITHUB, "x-hub-signature-256"),
        (Slack(), "x-slack-signature"),
        (Token("X-Key"), "x-key"),
        (Standard(), "webhook-signature"),
    ],
)
def test_flows_and_the_store_never_see_what_proves_an_identity(scheme: Scheme, header: str) -> None:
    proof: dict[str, Any] = {header.replace("-", "_"): "proof"}
    sent = request(authorization="Bearer x", cookie="a=b", x_kind="push", **proof)

    assert sent.without_proof(scheme).headers == {"x-kind": "push"}


def test_the_url_verification_of_slack_is_answered_with_its_challenge_once_it_is_verified() -> None:
    # The example of docs.slack.dev, "url_verification event".
    challenge = "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"
    sent = {"token": "Jhj5dZrVaK7ZwHHjRyZWjbDl", "challenge": challenge, "type": "url_verification"}
    asked = request(json.dumps(sent).encode())

    assert challenge_of(asked, Slack(), [], is_verified=True) == challenge
    assert challenge_of(asked, Slack(), [], is_verified=False) is None


@pytest.mark.parametrize(
    "body", [b"", b"url_verification", b'["url_verification"]', b'{"type": "url_verification", "challenge": 7}']
)
def test_other_bodies_ask_for_no_challenge(body: bytes) -> None:
    assert challenge_of(request(body), Slack(), [], is_verified=True) is None


@pytest.mark.parametrize(
    ("token", "answer"), [("meatyhamhock", "1158201444"), ("meatyhamhoc", None), ("", None), ("é", None)]
)
def test_a_subscription_of_meta_is_answered_if_it_names_a_secret_of_the_trigger(token: str, answer: str | None) -> None:
    # The example of developers.facebook.com, "Webhooks: Getting Started".
    query = f"hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={token}"

    assert challenge_of(request(query=query), GITHUB, ["other", "meatyhamhock"], is_verified=False) == answer


def test_a_validation_token_of_microsoft_is_answered_only_where_nothing_is_verified() -> None:
    asked = request(query="validationToken=Validation%3A+Testing+client%3C")

    assert challenge_of(asked, Unverified(), [], is_verified=True) == "Validation: Testing client<"
    assert challenge_of(asked, GITHUB, ["secret"], is_verified=False) is None


@pytest.mark.parametrize("query", ["a&" * 2000, "validationToken=" + "x" * 5000, "%00", "&&&==="])
def test_a_strange_query_asks_for_no_challenge(query: str) -> None:
    assert challenge_of(request(query=query), Unverified(), [], is_verified=True) is None


@pytest.mark.parametrize(
    ("check", "scheme"),
    [
        (Verify(scheme="standard"), Standard()),
        (Verify(scheme="github"), GITHUB),
        (Verify(scheme="stripe"), Stripe()),
        (Verify(scheme="slack"), Slack()),
        (Verify(scheme="hmac", header="x-sign"), Hmac(header="x-sign")),
        (
            Verify(scheme="hmac", header="x-sign", algorithm="sha512", encoding="base64", prefix="v1="),
            Hmac(header="x-sign", algorithm="sha512", encoding="base64", prefix="v1="),
        ),
        (Verify(scheme="token", header="authorization"), Token("authorization")),
        (Verify(scheme="none"), Unverified()),
    ],
)
def test_a_request_is_checked_as_the_document_says(check: Verify, scheme: Scheme) -> None:
    assert scheme_of(check) == scheme
