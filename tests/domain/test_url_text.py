"""URLs with arguments, which lead nowhere but where the document says."""

from urllib.parse import quote, unquote

import pytest
import yarl
from hypothesis import example, given
from hypothesis import strategies as st

from flowrunner.domain.expression import ExpressionFailed, Path, Template, render
from flowrunner.domain.expression.url_text import UrlText

X = Path("call.x", "call", ("x",))
BASE = Path("input.base", "input", ("base",))


def rendered(x: str, *parts: str | Path, base: str = "https://api.example.com/v2") -> str:
    template: Template = UrlText(parts, "call")
    url = render(template, {"call": {"x": x}, "input": {"base": base}})
    assert isinstance(url, str)
    return url


ANY = st.text(alphabet=st.sampled_from("ab./\\?#@:%25eEfFcC &+\n\u00e9")) | st.text(max_size=30)


@given(ANY)
@example("..%2f..%2fadmin")
@example("%2e%2e")
@example("//evil.example/")
def test_no_argument_changes_the_server_or_the_other_segments(x: str) -> None:
    try:
        sent = rendered(x, BASE, "/orders/", X, "/lines")
    except ExpressionFailed:
        return
    url = yarl.URL(sent)
    assert (url.scheme, url.host, url.port, url.user) == ("https", "api.example.com", 443, None)
    segments = url.raw_path.split("/")
    assert (segments[:3], len(segments), segments[4]) == (["", "v2", "orders"], 5, "lines")
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
    if {".", ".."} & set(unquote(encoded).replace("\\", "/").split("/")):
        with pytest.raises(ExpressionFailed, match="leads to another path"):
            rendered(encoded, BASE, "/orders/", X)
    else:
        assert rendered(encoded, BASE, "/orders/", X).endswith(f"/orders/{encoded}")


@pytest.mark.parametrize("x", [".evil.example", ":8080", "@evil.example", "/orders", "x"])
def test_an_argument_after_the_name_of_the_server_is_refused(x: str) -> None:
    for after in ((), ("/orders",), ("?a=1",)):
        with pytest.raises(ExpressionFailed, match="would change the name of the server"):
            rendered(x, "https://api.example.com", X, *after)


def test_an_argument_may_be_the_first_part_of_the_servers_name_or_begin_the_url() -> None:
    assert rendered("t1", "https://", X, ".example.com/orders") == "https://t1.example.com/orders"
    assert rendered("evil.example/", "https://", X, ".example.com/") == "https://evil.example%2F.example.com/"
    assert rendered("https://any.example/a/b", X, "/c") == "https://any.example/a/b/c"


def test_what_the_document_itself_gives_is_left_as_it_is() -> None:
    assert rendered("7", BASE, "/", X, base="https://a.example/x/../y") == "https://a.example/x/../y/7"
    assert rendered("", "https://a.example//x/a", X, "/z") == "https://a.example//x/a/z"
