"""Answers in another form than JSON: only where the client takes it, and prefers it."""

from typing import Final

import pytest

from api.shapes import SMALLEST
from flowrunner.api.http.negotiation import preferred, takes
from support.client import Client

OFFERED: Final = ("image/svg+xml", "application/x-ndjson")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", None),
        ("image/svg+xml", "image/svg+xml"),
        ("IMAGE/SVG+XML ; Q=0.5", "image/svg+xml"),
        ("image/svg+xml;q=0", None),
        ("image/svg+xml;charset=utf-8; q=0.000", None),
        ("image/svg+xml;q=none", "image/svg+xml"),
        ("image/svg+xml;q=0, application/x-ndjson;q=0.1", "application/x-ndjson"),
        ("application/json, image/svg+xml", None),
        ("application/json;q=0.9, image/svg+xml", "image/svg+xml"),
        ("application/json;q=0, image/svg+xml;q=0.1", "image/svg+xml"),
        ("image/avif,image/webp,image/svg+xml,image/*,*/*;q=0.8", "image/svg+xml"),
        ("text/html, */*", None),
    ],
)
def test_the_form_is_the_one_that_the_client_prefers(accept: str, expected: str | None) -> None:
    assert preferred(accept, OFFERED) == expected


@pytest.mark.parametrize(
    ("header", "expected"),
    [("", False), ("gzip", True), ("br, GZIP;q=0.1", True), ("gzip;q=0", False), ("gzip-2", False), ("*", False)],
)
def test_an_encoding_is_taken_if_it_is_named_without_a_weight_of_zero(header: str, expected: bool) -> None:
    assert takes(header, "gzip") is expected


def test_no_more_of_a_header_is_read_than_any_client_sends() -> None:
    assert takes("a," * 99 + "gzip", "gzip")
    assert not takes("a," * 100 + "gzip", "gzip")
    assert takes("gzip" + ";a" * 20 + ";q=0", "gzip")
    assert not takes("gzip" + ";a" * 5 + ";q=0", "gzip")


def test_what_a_client_excludes_is_not_sent(account: Client, admin: Client) -> None:
    flow = account.new_flow(SMALLEST)
    run = account.run(flow)
    account.ended(run)

    for path, media_type in (
        (f"/api/v1/flows/{flow}/graph", "image/svg+xml"),
        (f"/api/v1/executions/{run}/events", "text/event-stream"),
        (f"/api/v1/executions/{run}/events", "application/x-ndjson"),
        ("/api/v1/audit", "application/x-ndjson"),
        ("/metrics", "application/openmetrics-text"),
        ("/approvals", "text/html"),
    ):
        client = admin if path == "/api/v1/audit" else account
        wanted, excluded = (
            client.request("GET", path, headers={"Accept": f"{media_type}{more}"}).headers["content-type"]
            for more in ("", ";q=0")
        )
        assert wanted.partition(";")[0] == media_type
        assert excluded.partition(";")[0] in ("application/json", "text/plain")
    for coding, expected in (("gzip", "gzip"), ("gzip;q=0", None)):
        page = account.request("GET", "/w/flows", headers={"Accept-Encoding": coding})
        assert page.headers.get("content-encoding") == expected
