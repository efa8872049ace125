"""The files of the web interface, as the server sends them."""

import gzip
import re

import pytest

from api.shapes import assert_error
from docs.pages import ROOT
from flowrunner.api.http.assets import BUILT, read_assets
from support.client import Client, Reply
from support.server import Server


def fetched(server: Server, path: str, *, method: str = "GET", **headers: str) -> Reply:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Client(server.url).request(method, path, headers=sent)


@pytest.mark.parametrize("path", ["/", "/login", "/setup", "/w/data-team", "/w/data-team/executions/exec-1"])
def test_each_screen_has_an_address_and_needs_no_session(server: Server, path: str) -> None:
    reply = fetched(server, path)

    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert reply.body == read_assets()["index.html"].content


def test_s50_s75_pages_may_load_and_run_only_what_the_server_sends(server: Server) -> None:
    for path in ("/", "/assets/index.js"):
        headers = fetched(server, path).headers
        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))

        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert policy["require-trusted-types-for"] == "'script'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-opener-policy"] == "same-origin"
        assert "camera=()" in headers["permissions-policy"]


def test_s50_s75_the_page_of_the_api_has_the_same_policy_without_trusted_types(server: Server) -> None:
    pages = {path: fetched(server, path).headers["content-security-policy"] for path in ("/", "/docs")}

    assert pages["/"] == f"{pages['/docs']}; require-trusted-types-for 'script'"


def test_the_documentation_that_errors_name_is_served_as_text(server: Server) -> None:
    path, _, anchor = fetched(server, "/api/v1/nothing").json["error"]["docs"].partition("#")
    page = fetched(server, path)

    assert (page.status, page.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert page.body == (ROOT / path[1:]).read_bytes()
    assert f"\n## {anchor.capitalize()}\n".encode() in page.body


@pytest.mark.parametrize(
    "path", ["/docs/nothing.md", "/docs/..%2fpyproject.toml", "/docs/images", "/docs/settings.md%0A"]
)
def test_no_other_file_is_served_below_the_documentation(server: Server, path: str) -> None:
    assert_error(fetched(server, path), 404)


def test_a_file_is_compressed_for_whom_can_read_it(server: Server) -> None:
    plain = fetched(server, "/assets/index.js")
    packed = fetched(server, "/assets/index.js", Accept_Encoding="br, gzip")

    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    assert plain.headers["content-type"] == "text/javascript; charset=utf-8"


def test_a_file_that_the_browser_has_is_not_sent_again(server: Server) -> None:
    first = fetched(server, "/assets/style.css")
    again = fetched(server, "/assets/style.css", If_None_Match=first.headers["etag"])

    assert first.headers["cache-control"] == again.headers["cache-control"] == "no-cache"
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", first.headers["etag"])


def test_what_a_page_loads_is_of_its_build_and_is_kept_for_good(server: Server) -> None:
    page = fetched(server, "/").body.decode()
    named = re.findall(r"/assets/[^\"]+", page)
    build = {path.split("/")[2] for path in named}

    assert len(build) == 1
    assert {path.split("/", 3)[3] for path in named} == {"index.js", "style.css", "inter-latin-wght-normal.woff2"}
    for path in named:
        reply = fetched(server, path)
        assert (reply.status, reply.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
        assert "require-trusted-types-for" in reply.headers["content-security-policy"]
    style = fetched(server, f"/assets/{build.copy().pop()}/style.css").body.decode()
    scripts = fetched(server, "/start.js").body.decode()
    assert {path.split("/")[2] for path in re.findall(r"/assets/[^\"\`)]+", style + scripts)} == build


def test_a_page_of_another_build_gets_none_of_its_files(server: Server) -> None:
    reply = fetched(server, "/assets/0123456789ab/index.js")

    assert_error(reply, 404)
    assert reply.headers["cache-control"] == "no-store"


def test_a_font_is_sent_as_it_is(server: Server) -> None:
    reply = fetched(server, "/assets/inter-latin-wght-normal.woff2", Accept_Encoding="gzip")

    assert (reply.status, reply.headers["content-type"]) == (200, "font/woff2")
    assert "content-encoding" not in reply.headers


def test_the_length_can_be_asked_for(server: Server) -> None:
    reply = fetched(server, "/assets/index.js", method="HEAD")

    assert (reply.status, reply.body) == (200, b"")
    assert int(reply.headers["content-length"]) == (BUILT / "assets/index.js").stat().st_size


@pytest.mark.parametrize("path", ["/approvals", "/flows/flow-1?tab=x", "/nothing", "/w"])
def test_people_get_the_page_at_addresses_without_a_workspace_and_programs_json(server: Server, path: str) -> None:
    page = fetched(server, path, Accept="text/html,application/xhtml+xml,*/*;q=0.8")

    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.body == read_assets()["index.html"].content
    assert page.headers["vary"] == "Accept-Encoding, Accept"
    assert "require-trusted-types-for" in page.headers["content-security-policy"]
    head = fetched(server, path, method="HEAD", Accept="text/html")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", page.headers["content-length"])
    for accepted in ("*/*", "application/json", "application/json, text/plain, */*"):
        assert_error(fetched(server, path, Accept=accepted), 404)
    assert_error(fetched(server, path, method="POST", Accept="text/html"), 404)


@pytest.mark.parametrize(
    "path", ["/api/v1/nothing", "/api", "/assets/nothing.js", "/hooks/nothing", "/ws/nothing", "/mcp/nothing"]
)
def test_addresses_of_programs_are_no_pages(server: Server, path: str) -> None:
    assert_error(fetched(server, path, Accept="text/html"), 404)


@pytest.mark.parametrize(
    "path", ["/assets/nothing.js", "/assets/..%2fapi%2fweb.py", "/assets/%2e%2e", "/nothing", "/index.html"]
)
def test_nothing_else_is_a_file(server: Server, path: str) -> None:
    assert_error(fetched(server, path), 404)
