"""`http.request` and `webhook` against a real server."""

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import ssl
import threading
import tracemalloc
import urllib.parse
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any, Final, cast
from unittest.mock import ANY

import pytest

from flowrunner.domain.values import memory_of
from flowrunner.nodes import http, http_request, webhook
from flowrunner.nodes.files import decoded, multipart
from flowrunner.nodes.http import json_body, with_headers
from flowrunner.nodes.http_answers import ResponseKind, body_or_text, read_body
from flowrunner.nodes.http_request import HttpRequest, encoded
from flowrunner.nodes.webhook import Webhook
from flowrunner.plugin import JSON, HttpAnswer, NodeFailure
from flowrunner.security.bounded_answers import MAX_ANSWER_BYTES
from flowrunner.security.egress import EgressClient
from flowrunner.security.egress_policy import EgressPolicy
from support.contexts import PlainContext
from support.databases import NOON
from support.lazy import Lazy
from support.networks import LOOPBACK, unused_port
from support.waiting import PATIENCE_SECONDS

from .conftest import Peer, bomb


class Nodes:
    def __init__(self, client: EgressClient) -> None:
        self.context = PlainContext(client)

    async def request(self, url: str, **params: Any) -> Any:
        node_type = HttpRequest()
        return await node_type.run(node_type.read({"url": url, **params}), self.context)

    async def webhook(self, url: str, *, input: Any = None, **params: Any) -> Any:
        node_type = Webhook()
        self.context.input = input
        return await node_type.run(node_type.read({"url": url, **params}), self.context)

    async def failure(self, url: str, **params: Any) -> NodeFailure:
        with pytest.raises(NodeFailure) as failure:
            await self.request(url, **params)
        return failure.value


@pytest.fixture
def nodes(client: EgressClient) -> Nodes:
    return Nodes(client)


JSON_TYPE: Mapping[str, str] = {"Content_Type": "application/json; charset=utf-8"}


# Slots


class QueuedClient:
    """Client whose requests wait for a slot. Implements `plugin.HttpClient`."""

    def __init__(self, client: EgressClient) -> None:
        self._client = client
        self.is_ready = asyncio.Event()
        self.requested: list[bool] = []

    @asynccontextmanager
    async def hold(self, *, is_long: bool = False) -> AsyncIterator[EgressClient]:
        self.requested.append(is_long)
        await self.is_ready.wait()
        yield self._client

    async def request(self, *given: Any, **more: Any) -> Any:
        raise AssertionError("requests are sent by the client that holds the slot")


@pytest.mark.parametrize(("length", "is_long"), [(100, False), (50_000, True)])
@pytest.mark.parametrize("kind", ["request", "webhook"])
async def test_a_body_is_written_when_the_request_has_a_slot(
    nodes: Nodes, peer: Peer, monkeypatch: pytest.MonkeyPatch, length: int, *, is_long: bool, kind: str
) -> None:
    written: list[int] = []

    def watched(value: Any, headers: Any) -> Any:
        written.append(len(value))
        return json_body(value, headers)

    monkeypatch.setattr(http_request if kind == "request" else webhook, "json_body", watched)
    queued = QueuedClient(cast("EgressClient", nodes.context.http))
    nodes.context.http = queued
    send = nodes.request if kind == "request" else nodes.webhook
    sending = asyncio.create_task(send(f"{peer.url}/ok", method="POST", body=[[]] * length))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not queued.requested:  # noqa: ASYNC110 # it takes a few iterations of the loop
            await asyncio.sleep(0)

    assert (queued.requested, written) == ([is_long], [])
    queued.is_ready.set()
    assert (await sending)["status_code"] == 200
    assert written == [length]


@pytest.mark.parametrize(("length", "count"), [(60_000, 0), (70_000, 1), (900_000, 1)])
async def test_no_long_answer_is_read_before_it_has_a_slot(
    nodes: Nodes, peer: Peer, monkeypatch: pytest.MonkeyPatch, length: int, count: int
) -> None:
    url, asked = peer.give("/long", body=b"x" * length), 0

    async def hold(memory: int = 0) -> None:
        nonlocal asked
        asked += not memory

    monkeypatch.setattr(nodes.context, "hold_long_value", hold)
    await nodes.request(url)

    assert asked == count


async def test_a_long_answer_waits_for_the_memory_of_its_value_before_it_is_decoded(
    nodes: Nodes, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = b"[" + b",".join([b"{}"] * 100_000) + b"]"
    url = peer.give("/objects", body=body, Content_Type="application/json")
    decoded_at, held = 0, []

    async def hold(memory: int = 0) -> None:
        held.append((memory, decoded_at))

    def decode(answer: HttpAnswer, kind: ResponseKind | None = None) -> JSON:
        nonlocal decoded_at
        decoded_at += 1
        return read_body(answer, kind)

    monkeypatch.setattr(nodes.context, "hold_long_value", hold)
    monkeypatch.setattr(http_request, "read_body", decode)
    result = await nodes.request(url)

    assert held == [(0, 0), (ANY, 0)]
    assert held[1][0] >= memory_of(result["body"]) > 10 * len(body)


@pytest.mark.parametrize("fields", [Lazy(lambda: {"a": ["&ä =" * 50_000, 1, True]}), {"a": ["x" * 20] * 5000}])
async def test_others_go_on_while_a_long_form_is_written(
    nodes: Nodes, peer: Peer, monkeypatch: pytest.MonkeyPatch, fields: Any
) -> None:
    threads: list[int] = []

    def watched(given: Any) -> str:
        threads.append(threading.get_ident())
        return encoded(given)

    monkeypatch.setattr(http_request, "encoded", watched)
    await nodes.request(f"{peer.url}/ok", method="POST", form=fields)

    assert len(threads) == 1
    assert threads[0] != threading.get_ident()
    (sent,) = peer.seen
    assert urllib.parse.parse_qsl(sent.body.decode()) == [("a", str(value).lower()) for value in fields["a"]]


def test_a_long_text_of_a_form_is_written_in_little_memory() -> None:
    text = "ä" * 500_000
    tracemalloc.start()
    try:
        written = encoded({"a": text})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert written == f"a={'%C3%A4' * len(text)}"
    assert peak < 5 * len(written)


async def test_a_query_that_no_server_would_read_is_refused_before_it_is_written(nodes: Nodes, peer: Peer) -> None:
    await nodes.request(f"{peer.url}/ok", query={"a": "x" * 4000})
    with pytest.raises(NodeFailure, match="The query has more than 65536 characters") as failure:
        await nodes.request(f"{peer.url}/ok", query={"a": ["x" * 40_000] * 2})

    assert failure.value.type == "http.invalid_request"
    assert len(peer.seen) == 1


def test_more_statuses_than_there_are_are_refused() -> None:
    with pytest.raises(NodeFailure, match="expect_status: must have at most 1000 entries"):
        HttpRequest().read({"url": "http://x", "expect_status": [200] * 1001})


@pytest.mark.parametrize("name", ["query", "form", "headers"])
@pytest.mark.parametrize(
    "values", [{"a": [[]] * 5001}, {f"k{n}": [] for n in range(5001)}, {"a": [0] * 3000, "b": [0] * 3000}]
)
def test_more_values_than_a_request_has_are_counted_and_not_looked_at(name: str, values: Any) -> None:
    with pytest.raises(NodeFailure, match=f"{name}: must have at most 5000 values"):
        HttpRequest().read({"url": "http://x", name: values})


@pytest.mark.parametrize("size", [10, 400_000])
async def test_bytes_arrive_as_they_are(nodes: Nodes, peer: Peer, size: int) -> None:
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    # E-mails break the lines of base64.
    written = base64.encodebytes(content).decode()

    await nodes.request(f"{peer.url}/ok", method="PUT", base64=written)
    file = {"base64": written, "filename": 'one "two".pdf', "content_type": "application/pdf"}
    headers = {"content-type": "text/plain", "X-Kept": "1"}
    await nodes.request(f"{peer.url}/ok", method="POST", headers=headers, form={"a": "ä"}, files={"f": file})

    raw, form = peer.seen
    assert (raw.headers["content-type"], raw.body) == ("application/octet-stream", content)
    message = BytesParser(policy=HTTP).parsebytes(
        f"Content-Type: {form.headers['content-type']}\r\n\r\n".encode() + form.body
    )
    field, sent = cast("list[EmailMessage]", message.get_payload())
    assert form.headers["x-kept"] == "1"
    assert field.get_payload(decode=True) == "ä".encode()
    assert sent.get_payload(decode=True) == content
    assert (sent.get_filename(), sent.get_content_type()) == ("one %22two%22.pdf", "application/pdf")


async def test_a_repeated_form_with_files_is_the_same_to_the_byte(nodes: Nodes, peer: Peer) -> None:
    for _ in range(2):
        await nodes.request(f"{peer.url}/ok", method="POST", files={"f": {"text": "a"}})

    first, second = peer.seen
    assert (first.headers["content-type"], first.body) == (second.headers["content-type"], second.body)


@pytest.mark.parametrize(
    ("params", "name"), [({"base64": "ä"}, "base64"), ({"files": {"f": {"base64": "YQ"}}}, "files.f.base64")]
)
async def test_what_is_not_base64_is_sent_to_nobody(nodes: Nodes, peer: Peer, params: Any, name: str) -> None:
    failure = await nodes.failure(f"{peer.url}/ok", method="POST", **params)

    assert failure.type == "http.invalid_request"
    assert failure.message.startswith(f"The value of '{name}' is not base64. ")
    assert peer.seen == []


async def test_others_go_on_while_a_long_file_is_decoded(
    nodes: Nodes, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def watched(*given: Any) -> Any:
        threads.append(threading.get_ident())
        return multipart(*given)

    monkeypatch.setattr(http_request, "multipart", watched)
    for text in ("a", "a" * 200_000):
        await nodes.request(f"{peer.url}/ok", method="POST", files={"f": {"text": text}})

    assert [thread == threading.get_ident() for thread in threads] == [True, False]


def test_the_breaks_of_a_long_base64_take_little_memory() -> None:
    text = "QU\nJD\n" * 200_000

    tracemalloc.start()
    try:
        content = decoded(text, "base64")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert content == b"ABC" * 200_000
    assert peak < 3 * len(text)


@pytest.mark.parametrize("kind", ["text/csv\r\nX: y", "text/ä"])
def test_the_type_of_a_file_adds_no_line_to_its_part(kind: str) -> None:
    with pytest.raises(NodeFailure, match=r"files\.f\.content_type: must have printable ASCII characters only"):
        HttpRequest().read({"url": "http://x", "files": {"f": {"text": "a", "content_type": kind}}})


# Results


async def test_a_whole_number_in_an_answer_has_as_many_characters_as_the_docs_say(nodes: Nodes, peer: Peer) -> None:
    result = await nodes.request(peer.give("/a", 200, "9" * 4300, **JSON_TYPE))
    failure = await nodes.failure(peer.give("/b", 200, "9" * 4301, **JSON_TYPE))

    assert result["body"] == int("9" * 4300)
    assert failure.type == "http.invalid_json"


async def test_an_answer_is_given_with_all_its_facts(nodes: Nodes, peer: Peer) -> None:
    url = peer.give("/a", 201, '{"id": 7}', X_Trace="t", **JSON_TYPE)

    result = await nodes.request(url)

    assert result["status_code"] == 201
    assert result["body"] == {"id": 7}
    assert result["headers"]["x-trace"] == "t"
    metadata = result["metadata"]
    assert metadata.pop("timing_ms") > 0
    assert metadata == {
        "url": url,
        "method": "GET",
        "content_type": "application/json; charset=utf-8",
        "content_length": 9,
        "redirects": 0,
    }
    assert nodes.context.lines == [("info", "HTTP request successful", {"status_code": 201, "url": url})]


@pytest.mark.parametrize(
    ("answer", "kind", "value"),
    [
        (('{"a": 1}', "application/json"), None, {"a": 1}),
        (('{"a": 1}', "application/problem+json"), None, {"a": 1}),
        (('{"a": 1}', "APPLICATION/JSON"), None, {"a": 1}),
        (('{"a": 1}', "text/plain"), None, '{"a": 1}'),
        (('{"a": 1}', "text/plain"), "json", {"a": 1}),
        (('{"a": 1}', "application/json"), "text", '{"a": 1}'),
        (('{"a": 1}', "application/json"), "base64", base64.b64encode(b'{"a": 1}').decode()),
        (("not json", "application/json"), "text", "not json"),
        ((b'\xef\xbb\xbf{"a": 1}', "application/json"), None, {"a": 1}),
        (("né", "text/plain"), None, "né"),
        ((b"\xff\xfe\x00", "application/octet-stream"), None, base64.b64encode(b"\xff\xfe\x00").decode()),
        ((b"\xffa", "text/plain"), "text", "\ufffda"),
        ((b"a\x00b", "text/plain"), None, "a\ufffdb"),
        ((b"", "application/json"), None, None),
        ((b"", "text/plain"), None, None),
        ((b"", "text/plain"), "text", ""),
        ((b"", "text/plain"), "base64", ""),
        (("null", "application/json"), None, None),
        (('"\\u0000"', "application/json"), None, "\x00"),
    ],
)
async def test_a_body_is_read_by_its_kind(
    nodes: Nodes, peer: Peer, answer: tuple[str | bytes, str], kind: str | None, value: object
) -> None:
    body, content_type = answer
    url = peer.give("/a", 200, body, Content_Type=content_type)

    result = await nodes.request(url, **({} if kind is None else {"response": kind}))

    assert result["body"] == value


@pytest.mark.parametrize(
    ("content_type", "kind"),
    [("text/plain", "json"), ("application/json", None), ("application/problem+json; charset=latin-1", None)],
)
@pytest.mark.parametrize("body", ["<html>", '{"a": 1', '{"a": 1}{', "NaN", '"' + "\ud800", "[" * 5000, " "])
async def test_a_body_that_must_be_json_and_is_not_is_an_error(
    nodes: Nodes, peer: Peer, content_type: str, kind: str | None, body: str
) -> None:
    sent = body.encode(errors="surrogatepass")
    url = peer.give("/a", 200, sent, Content_Type=content_type)

    failure = await nodes.failure(url, **({} if kind is None else {"response": kind}))

    assert failure.type == "http.invalid_json"
    assert failure.message.startswith("The answer with status 200 is not valid JSON: ")
    assert isinstance(failure.data, Mapping)
    assert failure.data["status_code"] == 200
    assert failure.data["body"] == sent.decode("latin-1" if "latin" in content_type else "utf-8", "replace")


@pytest.mark.parametrize(("length", "is_sure"), [(20_000, True), (300_000, False)])
async def test_the_error_of_a_long_body_that_is_no_json_promises_its_text_only_if_it_is_kept(
    nodes: Nodes, peer: Peer, length: int, is_sure: bool
) -> None:
    failure = await nodes.failure(peer.give("/a", 200, "<" * length, **JSON_TYPE))

    where = "Its text is in ${error.data.body}"
    assert (f"{where}. " in failure.message) is is_sure
    assert (f"{where}, if the data of the error has at most 256 KiB. " in failure.message) is not is_sure


@pytest.mark.parametrize(("start", "end"), [("[", "]"), ('{"a":', "}"), ('[{"a":[', "]}]")])
async def test_an_answer_is_not_nested_deeper_than_what_contains_it_may_be(
    nodes: Nodes, peer: Peer, start: str, end: str
) -> None:
    most = 500 // sum(map(start.count, "[{"))

    fits = await nodes.request(peer.give("/a", 200, start * most + "1" + end * most, **JSON_TYPE))
    failure = await nodes.failure(peer.give("/b", 200, f"[[[{start * most}1{end * most}]]]", **JSON_TYPE))

    assert json.dumps(fits["body"], separators=(",", ":")) == start * most + "1" + end * most
    assert failure.type == "http.invalid_json"
    assert "it is nested more than 500 levels deep" in failure.message


async def test_no_text_of_an_answer_has_a_nul_however_it_is_read(nodes: Nodes, peer: Peer) -> None:
    for content_type in ("text/plain", "application/json", "text/plain; charset=latin-1", "application/problem+json"):
        url = peer.give("/a", 200, b"a\x00b", Content_Type=content_type)
        if "json" not in content_type:
            assert (await nodes.request(url))["body"] == "a\ufffdb"
        assert (await nodes.request(url, response="text"))["body"] == "a\ufffdb"
        failed = [await nodes.failure(url, response="json"), await nodes.failure(url, expect_status=201)]
        failed.append(await nodes.failure(peer.give("/b", 502, b"a\x00b", Content_Type=content_type)))

        assert [cast("Any", failure.data)["body"] for failure in failed] == ["a\ufffdb"] * 3


async def test_a_failed_answer_keeps_its_status_whatever_its_body_is(nodes: Nodes, peer: Peer) -> None:
    for content_type in ("application/json", "text/plain; charset=nothing", "application/json; charset=nothing"):
        failure = await nodes.failure(peer.give("/a", 502, "<html>", Content_Type=content_type), response="json")

        assert failure.type == "http.502"
        assert isinstance(failure.data, Mapping)
        # Without a charset that is known, only those who ask for JSON get a guess.
        assert failure.data["body"] == ("PGh0bWw+" if content_type.startswith("text") else "<html>")


@pytest.mark.parametrize(
    ("charset", "codec", "text"),
    [
        ("iso-8859-1", "latin-1", "né"),
        ("ISO-8859-1", "latin-1", "né"),
        ('"iso-8859-15"', "iso8859-15", "5 €"),
        ("windows-1252", "cp1252", "“5 €”"),
        ("windows-1251; q=1", "cp1251", "Привет"),
        ("us-ascii", "ascii", "a"),
        ("utf8", "utf-8", "né"),
        ("utf-8", "utf-8-sig", "né"),
        ("utf-16", "utf-16", "né"),
        ("UTF-16LE", "utf-16-le", "né"),
        ("Shift_JIS", "shift-jis", "日本"),
        ("euc-jp", "euc-jp", "日本"),
        ("iso-2022-jp", "iso2022-jp", "日本"),
        ("gb2312", "gb2312", "中文"),
        ("GB18030", "gb18030", "中文"),
        ("big5", "big5", "中文"),
        ("ks_c_5601-1987", "euc-kr", "한국"),
        ("koi8-r", "koi8-r", "Привет"),
    ],
)
async def test_a_body_is_read_in_its_charset(nodes: Nodes, peer: Peer, charset: str, codec: str, text: str) -> None:
    plain = peer.give("/text", 200, text.encode(codec), Content_Type=f"text/html; charset={charset}")
    json = peer.give(
        "/json", 200, f'{{"a": "{text}"}}'.encode(codec), Content_Type=f"application/json;charset={charset}"
    )

    assert (await nodes.request(plain))["body"] == text
    assert (await nodes.request(plain, response="text"))["body"] == text
    assert (await nodes.request(json))["body"] == {"a": text}


@pytest.mark.parametrize("charset", ["nothing", "binary", "punycode", "idna", "zlib", "unicode_escape", "x" * 5000])
async def test_a_charset_that_is_not_known_is_never_guessed(nodes: Nodes, peer: Peer, charset: str) -> None:
    text = peer.give("/text", 200, "né", Content_Type=f"text/plain; charset={charset}")
    json = peer.give("/json", 200, "{}", Content_Type=f"application/json; charset={charset}")

    assert (await nodes.request(text))["body"] == base64.b64encode("né".encode()).decode()
    assert (await nodes.request(json, response="base64"))["body"] == "e30="
    for url, kind in ((text, "text"), (text, "json"), (json, "json"), (json, "text")):
        failure = await nodes.failure(url, response=kind)
        assert failure.type == "http.invalid_answer"
        assert charset in failure.message
    assert (await nodes.failure(json)).type == "http.invalid_answer"


@pytest.mark.parametrize(("charset", "body"), [("utf-8", b"n\xe9"), ("ascii", b"n\xe9"), ("utf-16-le", b"n\x00\xe9")])
async def test_bytes_that_do_not_fit_their_charset_are_kept_or_replaced_when_text_is_asked_for(
    nodes: Nodes, peer: Peer, charset: str, body: bytes
) -> None:
    url = peer.give("/a", 200, body, Content_Type=f"text/plain; charset={charset}")

    assert (await nodes.request(url))["body"] == base64.b64encode(body).decode()
    assert (await nodes.request(url, response="text"))["body"] == "n\ufffd"


async def test_a_packed_body_is_unpacked(nodes: Nodes, peer: Peer) -> None:
    import gzip

    url = peer.give("/a", 200, gzip.compress(b'{"a": 1}'), Content_Encoding="gzip", **JSON_TYPE)

    assert (await nodes.request(url))["body"] == {"a": 1}


async def test_a_header_given_twice_is_joined(nodes: Nodes, peer: Peer) -> None:
    head = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n"

    result = await nodes.request(peer.give_bytes("/a", head))

    assert result["headers"]["set-cookie"] == "a=1, b=2"


async def test_bytes_of_a_header_that_are_not_utf_8_are_read_as_latin_1(nodes: Nodes, peer: Peer) -> None:
    lines = b"X-A: caf\xe9\r\nX-B: caf\xc3\xa9\r\nX-C: caf\xc3\xa9 \xe9 \xe2\x82\xac\r\nX-C: \xe9\xe8"
    url = peer.give_bytes("/a", b"HTTP/1.1 200 OK\r\n" + lines + b"\r\nContent-Length: 0\r\n\r\n")

    headers = (await nodes.request(url))["headers"]

    assert (headers["x-a"], headers["x-b"], headers["x-c"]) == ("café", "café", "café é €, éè")


# What is sent


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "delete"])
async def test_every_method_is_sent(nodes: Nodes, peer: Peer, method: str) -> None:
    result = await nodes.request(peer.url + "/a", method=method)

    assert peer.seen[0].method == method.upper() == result["metadata"]["method"]


@pytest.mark.parametrize(
    ("params", "sent", "content_type"),
    [
        ({}, b"", None),
        ({"body": None}, b"", None),
        ({"body": {"a": [1, None]}}, b'{"a":[1,null]}', "application/json"),
        ({"body": [1, 2]}, b"[1,2]", "application/json"),
        ({"body": False}, b"false", "application/json"),
        ({"body": "né"}, "né".encode(), "text/plain; charset=utf-8"),
        ({"body": "<a/>", "headers": {"content-type": "text/xml"}}, b"<a/>", "text/xml"),
        ({"body": "né", "headers": {"content-type": "text/csv; charset=latin1"}}, b"n\xe9", "text/csv; charset=latin1"),
        ({"form": {"a": "b c", "d": 1, "e": True}}, b"a=b+c&d=1&e=true", "application/x-www-form-urlencoded"),
        ({"form": {}}, b"", "application/x-www-form-urlencoded"),
        ({"form": {"a": 1}, "headers": {"content-type": "a/b"}}, b"a=1", "a/b"),
        ({"form": {"a": 1}, "headers": {"Content-Type": "a/b"}}, b"a=1", "a/b"),
        ({"body": [1], "headers": {"CONTENT-TYPE": "a/b"}}, b"[1]", "a/b"),
    ],
)
async def test_a_body_is_sent_in_its_form(
    nodes: Nodes, peer: Peer, params: Any, sent: bytes, content_type: str | None
) -> None:
    await nodes.request(peer.url + "/a", method="POST", **params)

    assert peer.seen[0].body == sent
    if content_type is not None:
        assert peer.seen[0].headers["content-type"] == content_type


@pytest.mark.parametrize(
    ("charset", "message"),
    [
        ("klingon", "The charset of 'headers.Content-Type' is not known. Give the bytes as 'base64'"),
        ("ascii", "The text has characters that the charset of 'headers.Content-Type' has not"),
    ],
)
async def test_a_body_that_its_charset_cannot_have_is_not_sent(
    nodes: Nodes, peer: Peer, charset: str, message: str
) -> None:
    headers = {"CONTENT-TYPE": f"text/plain; charset={charset}"}
    failure = await nodes.failure(peer.url + "/a", method="POST", body="né", headers=headers)

    assert (failure.type, failure.message) == ("http.invalid_request", message)
    assert peer.seen == []


@pytest.mark.parametrize(
    ("url", "query", "sent"),
    [
        ("/a", {"q": "x y&z", "n": 5, "yes": True}, "q=x+y%26z&n=5&yes=true"),
        ("/a?b=1", {"c": "2"}, "b=1&c=2"),
        ("/a?", {"c": "2"}, "c=2"),
        ("/a?b=1&", {"c": "2"}, "b=1&c=2"),
        ("/a#f", {"c": "2"}, "c=2"),
        ("/a", {"c": ["1", "2"]}, "c=1&c=2"),
        ("/a?b=%20", {}, "b=%20"),
    ],
)
async def test_a_query_is_added_to_the_url(nodes: Nodes, peer: Peer, url: str, query: Any, sent: str) -> None:
    await nodes.request(peer.url + url, query=query)

    # The receiver shows spaces as what they are.
    assert peer.seen[0].query == sent.replace("+", " ").replace("%20", " ")


async def test_only_null_is_left_out_of_what_is_sent(nodes: Nodes, peer: Peer) -> None:
    values = {"zero": 0, "none": 0.0, "no": False, "empty": "", "null": None, "list": [0, False, "", None], "of": []}
    sent = "zero=0&none=0.0&no=false&empty=&list=0&list=false&list="

    await nodes.request(peer.url + "/a", method="POST", query=values, form=values)
    await nodes.request(
        peer.url + "/a", headers={f"X-{name}": values[name] for name in ("zero", "no", "empty", "null")}
    )
    bodies: tuple[Any, ...] = (0, False, "", [], {})
    for body in bodies:
        await nodes.request(peer.url + "/a", method="POST", body=body)

    both, of_headers, *of_bodies = peer.seen
    assert (both.query, both.body) == (sent, sent.encode())
    assert {name: of_headers.headers.get(f"x-{name}") for name in ("zero", "no", "empty", "null")} == {
        "zero": "0", "no": "false", "empty": "", "null": None
    }  # fmt: skip
    assert [seen.body for seen in of_bodies] == [b"0", b"false", b"", b"[]", b"{}"]


@pytest.mark.parametrize(
    ("auth", "header", "value"),
    [
        ({"username": "", "password": "p"}, "authorization", "Basic OnA="),
        ({"token": ""}, "authorization", "Bearer"),
        ({"api_key": ""}, "x-api-key", ""),
        ({"username": "u", "password": "pä:"}, "authorization", "Basic " + base64.b64encode("u:pä:".encode()).decode()),
        ({"username": "u"}, "authorization", "Basic " + base64.b64encode(b"u:").decode()),
        ({"token": "t"}, "authorization", "Bearer t"),
        ({"api_key": "k"}, "x-api-key", "k"),
        ({"api_key": "k", "key_name": "X-Other"}, "x-other", "k"),
    ],
)
async def test_credentials_are_sent_in_their_header(
    nodes: Nodes, peer: Peer, auth: Any, header: str, value: str
) -> None:
    await nodes.request(peer.url + "/a", auth=auth)
    # They take the place of a header of that name, in whatever case.
    await nodes.request(peer.url + "/a", auth=auth, headers={header: "another", header.upper(): "a third"})

    assert [seen.headers[header] for seen in peer.seen] == [value, value]


async def test_headers_are_sent_as_text(nodes: Nodes, peer: Peer) -> None:
    await nodes.request(peer.url + "/a", headers={"X-N": 5, "X-Yes": True, "X-T": "a\tb"})

    headers = peer.seen[0].headers
    assert (headers["x-n"], headers["x-yes"], headers["x-t"]) == ("5", "true", "a\tb")
    assert headers["user-agent"] == "FlowRunner"


async def test_every_request_carries_the_key_of_its_step(nodes: Nodes, peer: Peer) -> None:
    nodes.context.attempt = 3
    await nodes.request(peer.url + "/a")
    await nodes.webhook(peer.url + "/a")
    await nodes.request(peer.url + "/a", headers={"idempotency-key": "my own"})

    assert [s.headers["idempotency-key"] for s in peer.seen] == ["exec-1.a.1", "exec-1.a.1", "my own"]


async def test_every_request_says_how_many_executions_have_led_to_it(nodes: Nodes, peer: Peer) -> None:
    nodes.context.depth = 4
    await nodes.request(peer.url + "/a")
    await nodes.webhook(peer.url + "/a", headers={"flowRunner-depth": "0"})
    await nodes.request(
        peer.give("/b", 302, Location=peer.url.replace("127.0.0.1", "localhost") + "/a"), follow_redirects=True
    )

    assert [s.headers["flowrunner-depth"] for s in peer.seen] == ["5", "5", "5", "5"]


@pytest.mark.parametrize(
    "headers",
    [{"Host": "x"}, {"content-length": "5"}, {"Transfer-Encoding": "chunked"}, {"Connection": "close"},
     {"A B": "x"}, {"": "x"}, {"A:": "x"}, {"A": "x\r\nB: y"}, {"A": "x\n"}, {"A": "\x00"}, {"Ä": "x"}],
)  # fmt: skip
async def test_headers_that_would_change_the_request_itself_are_refused(
    nodes: Nodes, peer: Peer, headers: dict[str, str]
) -> None:
    failure = await nodes.failure(peer.url + "/a", headers=headers)

    assert failure.type == "http.invalid_request"
    assert peer.seen == []


# Statuses


@pytest.mark.parametrize("status", [300, 400, 401, 404, 418, 429, 500, 503, 599])
async def test_another_status_is_an_error_that_says_which(nodes: Nodes, peer: Peer, status: int) -> None:
    url = peer.give("/a", status, '{"why": "x"}', X_Trace="t", **JSON_TYPE)

    failure = await nodes.failure(url)

    assert (failure.type, failure.message) == (f"http.{status}", f"HTTP request failed with status {status}")
    assert isinstance(failure.data, dict)
    assert (failure.data["status_code"], failure.data["body"]) == (status, {"why": "x"})
    assert failure.data["headers"]["x-trace"] == "t"


@pytest.mark.parametrize(
    ("expect", "status", "succeeds"),
    [(404, 404, True), (404, 200, False), ([200, 404], 404, True), ([200, 404], 201, False), (None, 204, True)],
)
async def test_expected_statuses_are_the_only_successes(
    nodes: Nodes, peer: Peer, expect: Any, status: int, succeeds: bool
) -> None:
    url = peer.give("/a", status)
    if succeeds:
        assert (await nodes.request(url, expect_status=expect))["status_code"] == status
    else:
        assert (await nodes.failure(url, expect_status=expect)).type == f"http.{status}"


async def test_the_wish_to_wait_is_understood(nodes: Nodes, peer: Peer) -> None:
    moment = format_datetime(NOON + timedelta(seconds=90), usegmt=True)
    failure = await nodes.failure(peer.give("/a", 503, Retry_After=moment))

    assert failure.retry_after == 90.0


# Redirects


async def test_s26_a_result_and_an_error_show_the_url_as_the_node_wrote_it(nodes: Nodes, peer: Peer) -> None:
    """The client normalises URLs, and a normalised secret would not be recognised and hidden."""
    host = peer.url.replace("http://", "HTTP://")
    written = f"{host}/a%3Ab/./c%2d?x=%41"

    result = await nodes.request(written)
    refused = await nodes.failure(written.replace(peer.url.rpartition(":")[2], "1", 1))

    assert result["metadata"]["url"] == written
    assert peer.seen[0].path != "/a%3Ab/./c%2d?x=%41"
    assert refused.type == "connection.refused"
    assert "/a%3Ab/./c%2d?x=%41" in refused.message


def test_a_header_of_the_node_takes_the_place_of_one_in_any_case() -> None:
    assert with_headers({"authorization": "a", "X-Own": "1"}, {"Authorization": "b"}) == {
        "X-Own": "1", "Authorization": "b"
    }  # fmt: skip


async def test_redirects_are_not_followed_unless_wanted(nodes: Nodes, peer: Peer) -> None:
    failure = await nodes.failure(peer.give("/a", 302, Location="/b"))

    assert failure.type == "http.302"
    assert [s.path for s in peer.seen] == ["/a"]


async def test_redirects_are_followed_to_the_end(nodes: Nodes, peer: Peer) -> None:
    peer.give("/b", 307, Location="c?x=1")
    url = peer.give("/a", 301, Location=peer.url + "/b")

    result = await nodes.request(url, follow_redirects=True)

    assert [s.path for s in peer.seen] == ["/a", "/b", "/c"]
    assert (result["metadata"]["redirects"], result["metadata"]["url"]) == (2, peer.url + "/c?x=1")


async def test_too_many_redirects_are_an_error(nodes: Nodes, peer: Peer) -> None:
    failure = await nodes.failure(peer.give("/a", 302, Location="/a"), follow_redirects=True)

    assert failure.type == "http.redirects"
    assert len(peer.seen) == 6


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [(301, "POST", "GET"), (302, "POST", "GET"), (303, "POST", "GET"), (303, "PUT", "GET"), (307, "POST", "POST"),
     (308, "PUT", "PUT"), (302, "PUT", "PUT"), (303, "HEAD", "HEAD")],
)  # fmt: skip
async def test_a_redirect_keeps_or_changes_the_method_as_http_says(
    nodes: Nodes, peer: Peer, status: int, method: str, then: str
) -> None:
    params = {} if method == "HEAD" else {"body": {"a": 1}}
    await nodes.request(
        peer.give("/a", status, Location="/b"),
        method=method,
        headers={"Content-Language": "en", "X-Own": "1"},
        follow_redirects=True,
        **params,
    )

    last = peer.seen[-1]
    # What describes the body goes with it.
    assert ("content-language" in last.headers, last.headers["x-own"]) == (then == method, "1")
    assert last.method == then
    assert last.body == (b'{"a":1}' if then == method and params else b"")
    if then != method:
        assert last.headers.get("content-type", "application/octet-stream") == "application/octet-stream"


@pytest.mark.parametrize(
    ("auth", "header"),
    [
        ({"token": "t"}, "authorization"),
        ({"api_key": "k"}, "x-api-key"),
        ({"api_key": "k", "key_name": "X-Mine"}, "x-mine"),
    ],
)
async def test_credentials_do_not_follow_to_another_host(nodes: Nodes, peer: Peer, auth: Any, header: str) -> None:
    peer.give("/same", 302, Location="/end")
    peer.give("/other", 302, Location=peer.url.replace("127.0.0.1", "localhost") + "/end")

    await nodes.request(peer.url + "/same", auth=auth, headers={"Cookie": "c=1"}, follow_redirects=True)
    await nodes.request(peer.url + "/other", auth=auth, headers={"Cookie": "c=1"}, follow_redirects=True)

    same, other = peer.seen[1], peer.seen[3]
    assert header in same.headers
    assert "cookie" in same.headers
    assert header not in other.headers
    assert "cookie" not in other.headers


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/", "http://a b/", "//\\x"])
async def test_a_redirect_to_what_is_no_web_address_is_an_error(nodes: Nodes, peer: Peer, location: str) -> None:
    failure = await nodes.failure(peer.give("/a", 302, Location=location), follow_redirects=True)

    assert failure.type == "http.invalid_request"


async def test_a_redirect_cannot_lead_to_a_closed_address(nodes: Nodes, peer: Peer) -> None:
    for location in ("http://169.254.169.254/latest", "http://10.0.0.1/", "http://[::1]:1/", "http://0x0a000001/"):
        failure = await nodes.failure(peer.give("/a", 302, Location=location), follow_redirects=True)
        assert failure.type == "egress.forbidden", location


# The network


async def test_a_refused_connection_is_an_error(nodes: Nodes) -> None:
    assert (await nodes.failure(f"http://127.0.0.1:{unused_port()}/")).type == "connection.refused"


async def test_a_name_that_does_not_exist_is_an_error(nodes: Nodes) -> None:
    assert (await nodes.failure("http://name.invalid/")).type == "connection.dns"


@pytest.mark.parametrize("path", ["/lost", "/nothing"])
async def test_a_connection_that_breaks_off_is_an_error(nodes: Nodes, peer: Peer, path: str) -> None:
    assert (await nodes.failure(peer.url + path)).type == "connection.lost"


async def test_a_lost_connection_is_not_tried_again_by_the_client_itself(nodes: Nodes, peer: Peer) -> None:
    await nodes.request(peer.url + "/first")
    await nodes.failure(peer.url + "/nothing", method="POST", body={})

    assert [s.path for s in peer.seen] == ["/first", "/nothing"]


async def test_an_answer_that_is_no_http_is_an_error(nodes: Nodes, peer: Peer) -> None:
    assert (await nodes.failure(peer.url + "/garbage")).type == "http.invalid_answer"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nX: " + b"guarded" * 2000, "is not valid HTTP: Got more than 8190 bytes when reading"),
        (b"HTTP/1.1 200 OK\r\nX: guarded\x00\r\n\r\n", "is not valid HTTP: Invalid HTTP header"),
        (b"HTTP/1.1 guarded OK\r\n\r\n", "is not valid HTTP: Bad status line: Invalid status code"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Encoding: gzip\r\n\r\nguarded",
         "is not compressed as its head says"),
    ],
)  # fmt: skip
async def test_s27_an_error_quotes_no_part_of_an_answer_that_is_no_http(
    nodes: Nodes, peer: Peer, answer: bytes, reason: str
) -> None:
    failure = await nodes.failure(url := peer.give_bytes("/a", answer))

    assert (failure.type, str(failure)) == ("http.invalid_answer", f"The answer of {url} {reason}")


def _compressed(encoding: str, text: bytes) -> bytes:
    return gzip.compress(text) if encoding == "gzip" else zlib.compress(text)


_LONG: Final = json.dumps([hashlib.sha256(b"%d" % n).hexdigest() for n in range(2_000)]).encode()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("framing", ["length", "chunks", "end"])
@pytest.mark.parametrize("text", [b"12345678", _LONG], ids=["short", "long"])
async def test_a_compressed_answer_that_ends_early_is_an_error_and_no_part_of_a_value(
    nodes: Nodes, peer: Peer, encoding: str, framing: str, text: bytes
) -> None:
    whole = _compressed(encoding, text)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: {encoding}\r\n".encode()

    def answer(body: bytes) -> bytes:
        match framing:
            case "length":
                return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
            case "chunks":
                return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
            case _:
                return head + b"Connection: close\r\n\r\n" + body

    assert (await nodes.request(peer.give_bytes("/whole", answer(whole))))["body"] == json.loads(text)

    for cut in (whole[: len(whole) // 2], whole[:-1]):
        failure = await nodes.failure(url := peer.give_bytes("/cut", answer(cut)))

        ends_early = f"The answer of {url} ends before its compressed data does"
        assert (failure.type, str(failure)) == ("http.invalid_answer", ends_early)


async def test_a_compressed_answer_without_a_body_is_empty(nodes: Nodes, peer: Peer) -> None:
    url = peer.give_bytes("/none", b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n")

    assert (await nodes.request(url))["body"] is None


async def test_a_server_without_tls_is_an_error_over_https(nodes: Nodes, peer: Peer) -> None:
    failure = await nodes.failure(peer.url.replace("http:", "https:"))

    assert failure.type == "connection.tls"


async def test_an_untrusted_certificate_is_an_error(nodes: Nodes, tmp_path: Any) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=untrusted(tmp_path))
    port = server.sockets[0].getsockname()[1]

    failure = await nodes.failure(f"https://127.0.0.1:{port}/")

    assert failure.type == "connection.tls"
    server.close()
    await server.wait_closed()


def untrusted(directory: Any) -> ssl.SSLContext:
    """Return a self-signed certificate."""
    from datetime import UTC, datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    path = directory / "cert.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def test_no_answer_within_the_timeout_is_an_error(nodes: Nodes, peer: Peer) -> None:
    failure = await nodes.failure(peer.url + "/hang", timeout="100ms")

    assert failure.type == "timeout"
    assert "100ms" in failure.message


async def test_a_cancelled_request_ends_at_once(nodes: Nodes, peer: Peer) -> None:
    running = asyncio.ensure_future(nodes.request(peer.url + "/hang"))
    await peer.was_asked.wait()

    running.cancel()
    # Not after the 30 s that a request may take.
    async with asyncio.timeout(10):
        await asyncio.wait([running])

    assert running.cancelled()


@pytest.mark.parametrize(
    "url",
    ["", "example.com", "ftp://127.0.0.1/", "file:///etc/passwd", "http://", "http:///x", "http://a:99999/",
     "http://127.0.0.1:0/", "http://127.0.0.1/ x", "http://127.0.0.1\\@evil/", "http://127.0.0.1/\r\nX: y",
     "gopher://x",
     "http://[::1", "javascript:alert(1)", "http://x\x00/", "http://xn--/", "http://xn--a/", "http://a.xn--%ff/"],
)  # fmt: skip
async def test_what_is_no_web_address_is_refused(nodes: Nodes, url: str) -> None:
    assert (await nodes.failure(url)).type in ("http.invalid_request", "input.invalid")


async def test_closed_addresses_are_refused(peer: Peer) -> None:
    port = peer.url.rpartition(":")[2]
    client = EgressClient(EgressPolicy())
    nodes = Nodes(client)
    for host in ("127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433", "[::ffff:127.0.0.1]", "0.0.0.0"):
        failure = await nodes.failure(f"http://{host}:{port}/")
        # A spelling that the resolver does not know leads nowhere either.
        assert failure.type in ("egress.forbidden", "connection.dns"), host
    await client.close()

    assert peer.seen == []


async def test_the_server_s_own_port_is_closed_even_when_its_address_is_open(peer: Peer) -> None:
    client = EgressClient(EgressPolicy([LOOPBACK], own_ports={int(peer.url.rpartition(":")[2])}))

    assert (await Nodes(client).failure(peer.url + "/a")).type == "egress.forbidden"

    await client.close()
    assert peer.seen == []


# Bounds


async def test_the_largest_answer_allowed_is_read(nodes: Nodes, peer: Peer) -> None:
    url = peer.give("/a", 200, b"x" * MAX_ANSWER_BYTES)

    assert len((await nodes.request(url))["body"]) == MAX_ANSWER_BYTES


async def test_a_larger_answer_is_an_error(nodes: Nodes, peer: Peer) -> None:
    failure = await nodes.failure(peer.give("/a", 200, b"x" * (MAX_ANSWER_BYTES + 1)))

    assert failure.type == "http.too_large"
    assert failure.message.endswith("has more than 1,048,576 bytes: ask for a part of it")


async def test_an_answer_without_end_is_an_error(nodes: Nodes, peer: Peer) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        failure = await nodes.failure(peer.url + "/endless")

    assert failure.type == "http.too_large"


async def test_a_small_answer_that_unpacks_to_a_huge_one_takes_no_memory(nodes: Nodes, peer: Peer) -> None:
    bomb()
    tracemalloc.start()
    failure = await nodes.failure(peer.url + "/bomb")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert failure.type == "http.too_large"
    assert most < 32 * 1024 * 1024


# Parameters


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"url": 5},
        {"url": ""},
        {"url": "http://x" * 9000},
        {"url": "http://x", "method": "FETCH"},
        {"url": "http://x", "method": 5},
        {"url": "http://x", "headers": [1]},
        {"url": "http://x", "headers": {"a": [1]}},
        {"url": "http://x", "body": {}, "form": {}},
        {"url": "http://x", "auth": {}},
        {"url": "http://x", "auth": {"token": "a", "username": "b"}},
        {"url": "http://x", "auth": {"password": "a"}},
        {"url": "http://x", "timeout": "soon"},
        {"url": "http://x", "timeout": "0s"},
        {"url": "http://x", "timeout": 5},
        {"url": "http://x", "expect_status": "200"},
        {"url": "http://x", "response": "xml"},
        {"url": "http://x", "follow_redirects": "yes"},
        {"url": "http://x", "unknown": 1},
    ],
)
def test_parameters_that_make_no_sense_are_refused_when_saved_and_when_run(params: Any) -> None:
    assert HttpRequest().check(params)
    with pytest.raises(NodeFailure) as failure:
        HttpRequest().read(params)
    assert failure.value.type == "input.invalid"


def test_parameters_that_are_still_expressions_are_checked_when_run() -> None:
    names = ("url", "method", "timeout", "headers", "expect_status", "follow_redirects")
    params: dict[str, Any] = {name: f"${{input.{name}}}" for name in names}
    params["auth"] = {"token": "${secrets.T}"}

    assert HttpRequest().check(params) == []


@pytest.mark.parametrize(
    ("method", "repeatable"),
    [(None, True), ("GET", True), ("put", True), ("DELETE", True), ("POST", False), ("patch", False), ("${x}", False)],
)
def test_what_may_be_sent_twice_is_known(method: str | None, repeatable: bool) -> None:
    params = {} if method is None else {"method": method}

    assert HttpRequest().repeatable(params) is repeatable


# Webhooks


async def test_a_webhook_posts_its_input(nodes: Nodes, peer: Peer) -> None:
    result = await nodes.webhook(peer.give("/hook", 202, "ok"), input={"a": 1})

    seen = peer.seen[0]
    assert (seen.method, seen.body, seen.headers["content-type"]) == ("POST", b'{"a":1}', "application/json")
    assert (result["status_code"], result["body"]) == (202, "ok")
    assert nodes.context.lines[0][:2] == ("info", "Webhook successful")


@pytest.mark.parametrize(
    ("params", "sent"), [({"body": {"b": 2}}, b'{"b":2}'), ({"body": None}, b"null"), ({"body": "text"}, b"text")]
)
async def test_a_webhook_s_own_body_wins(nodes: Nodes, peer: Peer, params: Any, sent: bytes) -> None:
    await nodes.webhook(peer.url + "/hook", input={"a": 1}, **params)

    assert peer.seen[0].body == sent


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        ("whsec_" + base64.b64encode(b"the key itself 123456789").decode(), b"the key itself 123456789"),
        ("plain secret", b"plain secret"),
    ],
)
async def test_a_webhook_is_signed_as_standard_webhooks_say(nodes: Nodes, peer: Peer, secret: str, key: bytes) -> None:
    forged = {"Webhook-Id": "x", "WEBHOOK-TIMESTAMP": "1", "webhook-signature": "v1,x"}
    await nodes.webhook(peer.url + "/hook", input={"a": "é"}, secret=secret, headers=forged)

    seen = peer.seen[0]
    id, timestamp = seen.headers["webhook-id"], seen.headers["webhook-timestamp"]
    signed = f"{id}.{timestamp}.".encode() + seen.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert seen.headers["webhook-signature"] == f"v1,{expected}"
    assert (id, timestamp) == ("exec-1.a.1", str(int(NOON.timestamp())))


@pytest.mark.parametrize("secret", ["whsec_not base64!", "whsec_ä", "whsec_", "whsec_a", "whsec_${input}"])
async def test_a_webhook_is_not_signed_with_what_holds_no_key(nodes: Nodes, peer: Peer, secret: str) -> None:
    with pytest.raises(NodeFailure, match="must have its key as base64 after whsec_") as failure:
        await nodes.webhook(peer.url + "/hook", secret=secret)

    assert failure.value.type == "input.invalid"
    assert secret.removeprefix("whsec_") == "" or secret not in failure.value.message
    assert peer.seen == []


async def test_a_webhook_that_was_taken_does_not_fail_for_the_receiver_s_body(nodes: Nodes, peer: Peer) -> None:
    for content_type in ("application/json", "application/json; charset=nothing"):
        result = await nodes.webhook(peer.give("/hook", 200, "ok", Content_Type=content_type))

        assert result["body"] == "ok"


async def test_a_webhook_that_fails_says_so(nodes: Nodes, peer: Peer) -> None:
    with pytest.raises(NodeFailure) as failure:
        await nodes.webhook(peer.give("/hook", 500))

    assert failure.value.type == "http.500"
    assert failure.value.message == "HTTP request failed with status 500"


async def test_the_time_of_a_request_is_in_milliseconds(
    nodes: Nodes, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter((10.0, 10.0125))
    monkeypatch.setattr(http, "time", SimpleNamespace(perf_counter=lambda: next(times)))

    assert (await nodes.request(f"{peer.url}/ok"))["metadata"]["timing_ms"] == 12.5


@pytest.mark.parametrize(
    ("type", "body", "value"),
    [
        ("application/json", b'{"a": 1}', {"a": 1}), ("application/json", b'{"a": "\xff"}', '{"a": "\ufffd"}'),
        ("application/json", b"\xef\xbb\xbf<p>\x00</p>", "<p>\ufffd</p>"),
        ("text/plain; charset=latin-1", b"\xe9", "\u00e9"),
        ("application/json; charset=latin-1", b"{\xe9", "{\u00e9"), ("application/json", b"", None),
    ],
)  # fmt: skip
def test_a_body_that_is_not_what_it_says_is_given_as_text(type: str, body: bytes, value: JSON) -> None:
    assert body_or_text(HttpAnswer(200, {"content-type": type}, body, "http://peer/", 0)) == value
