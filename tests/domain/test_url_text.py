"""URLs with arguments, which lead nowhere but where the document says."""

from urllib.parse import quote, unquote

import pytest
import yarl
from hypothesis import example, given
from hypothesis import strategies as st

from flowrunner.domain.expression import ExpressionFailed, Path, Template, render, url_text
from flowrunner.domain.expression.url_text import UrlText

X = Path("call.x", "call", ("x",))
BASE = Path("input.base", "input", ("base",))


def rendered(x: str, *parts: str | Path, base: str = "https://api.example.com/v2") -> str:
    template: Template = UrlText(parts, "call")
    url = render(template, {"call": {"x": x}, "input": {"base": base}})
    assert isinstance(url, str)
    return url


ANY = st.text(alphabet=st.sampled_from("ab./\\?#@:%25eEfFcC &+\n\u00e9")) | st.text(max_size=30)


# What stands before and after the argument.
PLACES: tuple[tuple[tuple[str | Path, ...], tuple[str | Path, ...]], ...] = (
    ((BASE, "/orders/"), ("/lines",)),
    (("https://api.example.com/v2/orders/",), ("/lines",)),
    ((" https://api.example.com/v2/orders/",), ("/lines",)),
    (("https://", "api.example.com", "/v2/orders/"), ("/lines",)),
    ((BASE,), ("/orders/7/lines",)),
    (("https://api.example.com",), ("/v2/orders/7/lines",)),
    (("https://",), ("api.example.com/v2/orders/7/lines",)),
    (("https:",), ("//api.example.com/v2/orders/7/lines",)),
    (("http",), ("://api.example.com/v2/orders/7/lines",)),
    (("https://api.example",), (".com/v2/orders/7/lines",)),
)


@given(ANY, st.sampled_from(PLACES), st.sampled_from(["https://api.example.com/v2", "https://api.example.com"]))
@example("..%2f..%2fadmin", PLACES[0], "https://api.example.com/v2")
@example("%2e%2e", PLACES[1], "")
@example("..;", PLACES[0], "https://api.example.com/v2")
@example("//evil.example/", PLACES[4], "https://api.example.com")
@example("evil.example/", PLACES[6], "")
@example("//evil.example/", PLACES[7], "")
def test_no_argument_changes_the_server_or_the_other_segments(
    x: str, place: tuple[tuple[str | Path, ...], tuple[str | Path, ...]], base: str
) -> None:
    before, after = place
    try:
        sent = rendered(x, *before, X, *after, base=base)
    except ExpressionFailed:
        return
    url, plain = yarl.URL(sent.strip()), yarl.URL(rendered("7", BASE, "/", base=base))
    assert (url.host, url.port, url.user) == ("api.example.com", {"https": 443, "http": 80}[url.scheme], None)
    segments = url.raw_path.removeprefix(plain.raw_path.rstrip("/")).split("/")
    assert (len(segments), segments[-3], segments[-1]) == (
        4 + ("/v2/" in sent and plain.path == "/"),
        "orders",
        "lines",
    )
    assert not any(unquote(unquote(segment)).partition(";")[0] in (".", "..") for segment in segments)
    assert (url.raw_query_string, url.raw_fragment) == ("", "")


@given(ANY)
def test_no_argument_adds_another_parameter_to_a_query(x: str) -> None:
    url = yarl.URL(rendered(x, BASE, "/orders?of=", X, "&limit=1"))

    assert (url.raw_path, url.raw_fragment) == ("/v2/orders", "")
    assert list(url.query) == ["of", "limit"]
    assert url.query["limit"] == "1"
    if "%" not in x and x.isprintable():
        assert url.query["of"] == x


@given(st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_an_argument_that_the_document_has_encoded_is_sent_as_it_is(x: str) -> None:
    encoded = quote(x, safe="!'()*~")
    read = [x, unquote(x), unquote(unquote(x))]
    if any(part.partition(";")[0] in (".", "..") for text in read for part in text.replace("\\", "/").split("/")):
        with pytest.raises(ExpressionFailed, match="leads to another path"):
            rendered(encoded, BASE, "/orders/", X)
    else:
        assert rendered(encoded, BASE, "/orders/", X).endswith(f"/orders/{encoded}")


@pytest.mark.parametrize("x", [".evil.example", ":8080", "@evil.example", "/orders", "x"])
def test_an_argument_after_the_name_of_the_server_is_refused(x: str) -> None:
    for after in ((), ("/orders",), ("?a=1",)):
        with pytest.raises(ExpressionFailed, match="would change the name of the server"):
            rendered(x, "https://api.example.com", X, *after)


@pytest.mark.parametrize(
    ("before", "x", "after"),
    [
        ("https://", "evil.example", "/v1"),
        ("https://", "t1", ".example.com/v1"),
        ("https://a.example", ".evil.example", ":8443/v1"),
        ("https://a.example:", "8443", "/v1"),
        ("https://", "user", "@a.example/v1"),
        (" https://a.example", ".evil.example", "/v1"),
        ("\thttps://", "evil.example", "/v1"),
        ("http", "s", "://a.example/v1"),
    ],
)
def test_no_argument_names_a_part_of_the_server_after_text(before: str, x: str, after: str) -> None:
    with pytest.raises(ExpressionFailed, match="would change the name of the server") as failed:
        rendered(x, before, X, after)

    assert failed.value.type == "input.invalid"


@pytest.mark.parametrize("before", ["https:", "https:/", "https:///", "//", "a.example/", "\\\\a.example/"])
def test_an_argument_in_a_url_without_a_server_is_refused(before: str) -> None:
    for x in ("evil.example", "//evil.example", "/evil.example/"):
        with pytest.raises(ExpressionFailed, match="does not begin with a scheme and a server"):
            rendered(x, before, X, "/v1")


@pytest.mark.parametrize(
    "x",
    [
        *("..;", ".;", "..;x=1", "..%3bx", "..%3B", "%2e%2e;a", "a%2f..;x%2fb", "a%5c..;"),
        *("%252e%252e%252f", "%252e%252e", "..%252fadmin", "a%255c..", "%25252e%25252e", "%25%32%65.", "%2525252525"),
    ],
)
def test_no_argument_leads_away_at_servers_that_read_parameters_or_decode_twice(x: str) -> None:
    for after in ((), ("/orders",), (";v=1/orders",)):
        with pytest.raises(ExpressionFailed, match="leads to another path"):
            rendered(x, BASE, "/customers/", X, *after)


@pytest.mark.parametrize(
    "x",
    [
        *("%c0%ae%c0%ae", "%C0%AE%C0%AE%C0%AFadmin", "%c0%2e%c0%2e", "a%c1%9c..", "%e0%80%ae%e0%80%ae", "%e0%81%9c"),
        *(
            "%f0%80%80%ae%f0%80%80%ae",
            "%u002e%u002e%u002fadmin",
            "%U005c",
            "%25c0%25ae%25c0%25ae",
            "%25%63%30%25%61%66",
        ),
        *("%f8%80%80%80%ae%f8%80%80%80%ae", "%FC%80%80%80%80%AE", "%uff0e%uff0e", "a%uFF0f..", "%uff3c", "%25fc%2580"),
    ],
)
def test_s76_no_argument_leads_away_at_servers_that_decode_longer_forms_of_ascii(x: str) -> None:
    for after in ((), ("/orders",)):
        with pytest.raises(ExpressionFailed, match="leads to another path"):
            rendered(x, BASE, "/customers/", X, *after)


@pytest.mark.parametrize("x", ["M%C3%BCller", "M%FCller", "5%25unit", "%25c0", "%F0%9F%98%80", "%e0%a4%95"])
def test_an_argument_of_other_bytes_is_sent_as_it_is(x: str) -> None:
    assert rendered(x, BASE, "/customers/", X).endswith(f"/customers/{x}")


def test_an_argument_begins_no_parameter_of_its_segment() -> None:
    assert rendered("7;admin=1", BASE, "/customers/", X) == "https://api.example.com/v2/customers/7%3Badmin=1"
    assert rendered("50%25", BASE, "/customers/", X) == "https://api.example.com/v2/customers/50%25"
    with pytest.raises(ExpressionFailed, match="leads to another path"):
        rendered("..", BASE, "/customers/", X, ";v=1/orders")


def test_a_url_that_is_too_long_is_refused_before_its_segments_are_read() -> None:
    arguments: list[str | Path] = [X, "/"] * 1000
    with pytest.raises(ExpressionFailed, match="gives a URL of 131095 characters; the most is 8192"):
        rendered("x", BASE, *arguments, base=f"https://api.example.com/{'/' * 131_070}")
    with pytest.raises(ExpressionFailed, match="gives a URL of 8193 characters"):
        rendered("x", BASE, X, "/" * 8167, base="https://api.example.com/a")
    assert rendered("x" * 100_000, "", X, "/v1").endswith("x/v1")


def test_each_segment_is_read_once_however_many_arguments_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(url_text, "_leads_away", read.append)
    segment: list[str | Path] = ["a"] + [X] * 1000
    rendered("", BASE, "/", *segment, "/b", X, "/z", base=f"https://a.example{'/c' * 2000}")

    assert read == ["a", "b"]


def test_an_argument_may_begin_the_url() -> None:
    assert rendered("https://any.example/a", " ", X, "/c") == " https://any.example/a/c"
    assert rendered("https://any.example/a/b", X, "/c") == "https://any.example/a/b/c"


def test_what_the_document_itself_gives_is_left_as_it_is() -> None:
    assert rendered("7", BASE, "/", X, base="https://a.example/x/../y") == "https://a.example/x/../y/7"
    assert rendered("", "https://a.example//x/a", X, "/z") == "https://a.example//x/a/z"
