"""A secret is hidden in whatever way its characters are written, and ordinary text stays as it is.

A case is a secret, an encoding of it and a text around it. The text around it has to come out unchanged, so that
a redactor that hides too much fails as one that hides too little does.
"""

import base64
import html.entities
import itertools
import json
import random
import re
import string
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
import yarl
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain.errors import RedactionLimit
from flowrunner.security.redaction import SecretRedactor
from support.scoreboard import Scoreboard

# URLs and tokens of the kinds that people keep as secrets, and some that are full of what encoders change.
VALUES: Final = (
    "https://hooks.slack.com/services/T01ABCDEF/B02GHIJKL/Xz9mN8bV7cL6kJ5hG4fD3sA2",
    "https://discord.com/api/webhooks/1098765432101234567/aB-cD_eF9gH8iJ7kL6mN5oP4qR3sT2uV1wX0yZ",
    "https://api.telegram.org/bot123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw/sendMessage?chat_id=-100123&text=a%20b",
    "HTTPS://Hooks.Example.COM:443/In/Q1w2E3r4T5y6U7i8",
    "http://hooks.example.com:80?token=ZxCvBnM1aSdFgHjK2",
    "https://bücher.example/hook/ÄöÜ-9f8e7d6c5b4a?x=ñandú&y=1+2",
    "https://hooks.example.com/a/./b/../c/%7Etoken%2Fq8w7e6r5",
    "https://user%40corp:p%40ss!w0rd-9182@hooks.example.com/deliver/Yt6Re4Wq",
    "123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw",
    "sk_live_51Hq8w2eZvKYlo2C0aBcDeFgHiJkLmNoPqRs",
    'p@ss\'w"rd<&>/+=%\\é✓;$(x)`|-Q7vN2kX9',
    "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----",
    "🔑correct-horse&battery=staple🙂",
    '{"type": "service_account", "private_key": "-----BEGIN\\nabc+/=\\n", "id": 7}',
)  # fmt: skip


def _percent(text: str, upper: Callable[[int], bool], escapes: Callable[[int, str], bool]) -> str:
    written = ""
    for number, character in enumerate(text):
        if not escapes(number, character):
            written += character
            continue
        for byte in character.encode():
            written += f"%{byte:02X}" if upper(number) else f"%{byte:02x}"
    return written


def _units(text: str, form: str, escapes: Callable[[int, str], bool]) -> str:
    written = ""
    for number, character in enumerate(text):
        data = character.encode("utf-16-be")
        units = [int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2)]
        written += "".join(form.format(unit) for unit in units) if escapes(number, character) else character
    return written


def _entities(text: str, form: str) -> str:
    return "".join(form.format(ord(character)) if not character.isalnum() else character for character in text)


_NAMED: Final = {
    value: name for name, value in sorted(html.entities.html5.items()) if name.endswith(";") and len(value) == 1
}


def _special(number: int, character: str) -> bool:
    return not (character.isascii() and character.isalnum())


# What is escaped: everything, what has to be, every second character, letters alone.
_CHOICES: Final[Mapping[str, Callable[[int, str], bool]]] = {
    "all": lambda number, character: True,
    "specials": _special,
    "every second": lambda number, character: number % 2 == 0 or _special(number, character),
    "letters": lambda number, character: character.isalpha() or character in "%\\&'\"",
}
_CASES: Final[Mapping[str, Callable[[int], bool]]] = {
    "upper": lambda number: True,
    "lower": lambda number: False,
    "mixed": lambda number: number % 3 == 0,
}

Encoding = Callable[[str], str]


def _encodings() -> dict[str, Encoding]:
    found: dict[str, Encoding] = {"as it is": lambda s: s}
    for (choice, escapes), (case, upper) in itertools.product(_CHOICES.items(), _CASES.items()):
        found[f"percent, {choice}, {case}"] = lambda s, e=escapes, u=upper: _percent(s, u, e)  # type: ignore[misc]
    for choice, escapes in _CHOICES.items():
        for name, form in (("\\u lower", "\\u{:04x}"), ("\\u upper", "\\u{:04X}"), ("%u", "%u{:04X}")):
            found[f"{name}, {choice}"] = lambda s, f=form, e=escapes: _units(s, f, e)  # type: ignore[misc]
    found |= {
        "JSON": lambda s: json.dumps(s)[1:-1],
        "JSON with / escaped": lambda s: json.dumps(s)[1:-1].replace("/", "\\/"),
        "JSON for HTML": lambda s: "".join(f"\\u{ord(c):04x}" if c in "&<>'=+" else c for c in json.dumps(s)[1:-1]),
        "JSON of JSON": lambda s: json.dumps(json.dumps(s)[1:-1])[1:-1],
        "JSON of JSON of JSON": lambda s: json.dumps(json.dumps(json.dumps(s)[1:-1])[1:-1])[1:-1],
        "form": urllib.parse.quote_plus,
        "double percent": lambda s: urllib.parse.quote(urllib.parse.quote(s, safe=""), safe=""),
        "percent in JSON": lambda s: json.dumps(urllib.parse.quote(s, safe='"\\'))[1:-1],
        "HTML": html.escape,
        "HTML of HTML": lambda s: html.escape(html.escape(s)),
        "HTML in percent": lambda s: urllib.parse.quote(html.escape(s), safe=""),
        "XML": lambda s: s.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;").replace("'", "&apos;"),
        "named entities": lambda s: "".join(f"&{_NAMED[c]}" if c in _NAMED and _special(0, c) else c for c in s),
        "decimal entities": lambda s: _entities(s, "&#{};"),
        "hexadecimal entities": lambda s: _entities(s, "&#x{:x};"),
        "upper hexadecimal entities": lambda s: _entities(s, "&#X{:X};"),
        "padded decimal entities": lambda s: _entities(s, "&#{:07};"),
        "padded hexadecimal entities": lambda s: _entities(s, "&#x{:08x};"),
        "every character an entity": lambda s: "".join(f"&#{ord(c)};" for c in s),
        "Python": lambda s: repr(s)[1:-1],
        "Python bytes": lambda s: repr(s.encode())[2:-1],
        "\\x of all bytes": lambda s: "".join(f"\\x{byte:02x}" for byte in s.encode()),
        "code points in braces": lambda s: "".join(f"\\u{{{ord(c):x}}}" for c in s),
        "long code points": lambda s: "".join(f"\\U{ord(c):08X}" if _special(0, c) else c for c in s),
        "octal": lambda s: "".join(f"\\{ord(c):03o}" if c.isascii() and not c.isalnum() else c for c in s),
        "backslashes": lambda s: "".join(f"\\{c}" if c in string.punctuation else c for c in s),
        "SQL": lambda s: s.replace("'", "''"),
        "CSV": lambda s: s.replace('"', '""'),
        "shell": lambda s: s.replace("'", "'\\''"),
        "another shell": lambda s: s.replace("'", "'\"'\"'"),
        "UTF-16": "\x00".join,
        "UTF-16 after NULs were replaced": "\ufffd".join,
        "upper case": lambda s: "".join(c.upper() if c.isascii() else c for c in s),
        "lower case": lambda s: "".join(c.lower() if c.isascii() else c for c in s),
        "lines of 20": lambda s: "\n".join(s[at : at + 20] for at in range(0, len(s), 20)),
        "hex": lambda s: s.encode().hex(),
        "HEX": lambda s: s.encode().hex().upper(),
        "base64 in percent": lambda s: urllib.parse.quote(_base64(s, 0), safe=""),
        "base64 in JSON": lambda s: _base64(s, 0).replace("/", "\\/"),
        "base64 in lines": lambda s: "\r\n".join(re.findall(".{1,16}", _base64(s, 0))),
    }
    for offset in range(3):
        found[f"base64 at {offset}"] = lambda s, o=offset: _base64(s, o)  # type: ignore[misc]
        found[f"base64url at {offset}"] = lambda s, o=offset: (  # type: ignore[misc]
            _base64(s, o).replace("+", "-").replace("/", "_")
        )
    return found


def _base64(text: str, offset: int) -> str:
    raw = text.encode()
    return base64.b64encode(b"\0" * offset + raw).decode()[(0, 2, 3)[offset] : (offset + len(raw)) * 8 // 6]


ENCODINGS: Final = _encodings()
AROUND: Final = ("{}", "url={} (sent)", '{{"a": "{}", "b": 1}}', "<a href='{}'>x</a>")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_s26_s65_a_secret_is_hidden_in_every_canonical_form(encoding: str, scoreboard: Scoreboard) -> None:
    shown = []
    for value, around in itertools.product(VALUES, AROUND):
        redactor = SecretRedactor()
        redactor.add([value])
        text = around.format(ENCODINGS[encoding](value))
        hidden = redactor.redact([{"text": text}])
        if hidden != [{"text": around.format("***")}]:
            shown.append((value, text, hidden))
        assert redactor.found_in(json.dumps([{"text": text}], ensure_ascii=False).encode())

    scoreboard.count("canonical forms: texts that show a secret", cases=len(VALUES) * len(AROUND), failures=len(shown))
    assert shown == []


def _normalised(url: str) -> dict[str, str]:
    """How clients write a URL that they were given."""
    parsed = yarl.URL(url)
    split = urllib.parse.urlsplit(url)
    host = (split.hostname or "").encode("idna").decode() if split.hostname else ""
    return {
        "str": str(parsed),
        "for people": parsed.human_repr(),
        "upper host": url.replace(split.netloc, split.netloc.upper()),
        "default port": str(parsed.with_port(None)),
        "IDNA": url.replace(split.hostname or "-", host),
        "requoted": urllib.parse.quote(url, safe=":/?&=%"),
        "unquoted": urllib.parse.unquote(url),
        "target": parsed.raw_path_qs,
        "colon escaped": url.replace(":", "%3A"),
        "colon escaped, lower": url.replace(":", "%3a"),
        "spaces as plus": url.replace("%20", "+"),
        "in a query": f"{yarl.URL('http://a.example/').with_query(u=url)}",
        "in a query, by urlencode": urllib.parse.urlencode({"u": url}),
    }


@pytest.mark.parametrize("value", [value for value in VALUES if "://" in value and value[0] in "hH"])
def test_s26_s65_a_url_is_hidden_as_clients_normalise_it(value: str, scoreboard: Scoreboard) -> None:
    redactor = SecretRedactor()
    redactor.add([value])

    shown = {}
    for name, form in _normalised(value).items():
        for around in AROUND:
            hidden = str(redactor.redact(around.format(form)))
            # The last piece of every value is what nobody may see.
            piece = value[-12:]
            if "***" not in hidden or piece in hidden or piece in urllib.parse.unquote_plus(hidden):
                shown[name] = hidden

    scoreboard.count("canonical forms: URLs that show a secret", cases=13 * len(AROUND), failures=len(shown))
    assert shown == {}


# What is not to be hidden

ORDINARY: Final[tuple[Any, ...]] = (
    {"status_code": 200, "headers": {"content-type": "application/json; charset=utf-8", "etag": 'W/"5e3-9ab"'}},
    {"url": "https://shop.example.com/items?page=2&sort=%2Dname&q=a+b%20c", "next": None, "count": 1234567890},
    "<p>Fish &amp; chips &lt;b&gt; caf&eacute; &#8364;5 &copy; 2026</p>",
    'C:\\new\\table\\users\\"quoted" \\u00e9 \\/path',
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    "SELECT 'it''s' FROM t WHERE a = '' AND b <> '%'",
    ["a", "aa", "aaa", "", "***", "%", "%%", "%4", "\\", "&", "&#", "&amp", "+", " "],
    "Sehr geehrte Damen und Herren, 你好, здравствуйте — naïve façade 🙂",
    {"secret": "no", "password": "see the vault", "token": "abc", "key_1": 1.5, "true": True},
    "data:text/plain;base64,SGVsbG8sIFdvcmxkIQ==",
)


def test_s65_ordinary_text_stays_as_it_is_beside_ordinary_secrets() -> None:
    draw = random.Random(65)
    secrets = [*VALUES, *("".join(draw.choices(string.ascii_letters + string.digits, k=k)) for k in range(8, 72))]
    redactor = SecretRedactor()
    redactor.add(secrets)

    for document in ORDINARY:
        assert redactor.redact(document) == document
    assert redactor.redact([*ORDINARY * 50]) == [*ORDINARY * 50]


def test_s65_a_secret_that_is_escapes_itself_hides_nothing_that_is_short() -> None:
    redactor = SecretRedactor()
    redactor.add(["&amp;&amp;", "%41%42%43", "''''''''", "\\n\\n\\n\\n"])

    for text in ("a && b", "ABC", "it's", "a\n\n\n\nb", "&&", "abcdefgh"):
        assert redactor.redact(text) == text
    assert redactor.redact("x &amp;&amp; y") == "x *** y"


# Laws


_TEXT: Final = st.text(min_size=8, max_size=60).filter(lambda text: text.encode("utf-8", "ignore").decode() == text)


@given(secret=_TEXT, before=st.text(max_size=20), after=st.text(max_size=20))
def test_s65_a_secret_as_it_is_is_hidden_beside_any_text(secret: str, before: str, after: str) -> None:
    """Characters around a secret may make escapes together with its first and last."""
    redactor = SecretRedactor()
    redactor.add([secret])

    hidden = redactor.redact({"text": before + secret + after})

    assert "***" in str(hidden)
    assert secret not in hidden["text"].replace("***", "\0")  # type: ignore[index, call-overload, union-attr]


_PATHS: Final = st.lists(
    st.sampled_from(["JSON", "form", "HTML", "percent, every second, mixed", "SQL", "\\u upper, letters"]), max_size=2
)


@given(secret=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=12, max_size=40), path=_PATHS)
def test_s65_encodings_of_encodings_are_hidden(secret: str, path: list[str]) -> None:
    redactor = SecretRedactor()
    redactor.add([secret])
    text = secret
    for name in path:
        text = ENCODINGS[name](text)

    assert "***" in str(redactor.redact(f"[{text}]"))


@given(st.data())
def test_s26_where_secrets_overlap_nothing_is_left_of_any(data: st.DataObject) -> None:
    """The search finds what looking for each secret at each place finds."""
    secrets = data.draw(st.sets(st.text("ab", min_size=8, max_size=24), min_size=1, max_size=12))
    text = "".join(data.draw(st.lists(st.sampled_from([*sorted(secrets), "a", "b", "ab", "|"]), max_size=12)))
    redactor = SecretRedactor()
    redactor.add(secrets)

    hidden = str(redactor.redact(text))

    covered = [False] * len(text)
    for secret, at in itertools.product(secrets, range(len(text))):
        if text.startswith(secret, at):
            covered[at : at + len(secret)] = [True] * len(secret)
    left = "".join(character for character, is_covered in zip(text, covered, strict=True) if not is_covered)
    assert hidden.replace("***", "") == left


# Shapes that would take long

_RUN: Final = 600_000


def _repeats() -> dict[str, tuple[list[str], Any]]:
    draw = random.Random(7)

    def letters(length: int) -> str:
        return "".join(draw.choices(string.ascii_letters + string.digits, k=length))

    mixed = [letters(32) for _ in range(1000)]
    nested: Any = mixed[0]
    for _ in range(500):
        nested = [{mixed[1]: nested}]
    return {
        "a common beginning, and a run of it": (["a" * 40 + letters(10) for _ in range(150)], "a" * _RUN),
        "a long common beginning": (["a" * 8000 + letters(10) for _ in range(150)], "a" * _RUN),
        "a common end": ([letters(10) + "a" * 90 for _ in range(150)], "a" * _RUN),
        "repetitions of one another": (["a" * length for length in range(8, 208)], "a" * _RUN),
        "repetitions of two characters": (["ab" * length for length in range(4, 200)], "ab" * (_RUN // 2)),
        "1,000 random secrets in a megabyte of them": (mixed, "".join(draw.choices(mixed, k=33_000))),
        "keys": (mixed, [{secret: 1} for secret in mixed] * 5),
        "depth": (mixed, nested),
        "backslashes": (mixed, "\\" * _RUN),
        "escapes of one character": (["a" * length for length in range(8, 208)], "\\u0061" * (_RUN // 6)),
    }


@pytest.mark.parametrize("shape", _repeats())
def test_s26_hiding_takes_time_in_proportion_to_the_text(shape: str) -> None:
    """A product of secrets and text would take minutes of processor time."""
    secrets, value = _repeats()[shape]
    redactor = SecretRedactor()
    redactor.add(secrets)

    begun = time.thread_time()
    hidden = redactor.redact(value)

    assert time.thread_time() - begun < 10
    encoded = json.dumps(hidden)
    assert not any(secret in encoded for secret in secrets)


def test_s26_what_cannot_be_hidden_with_a_bounded_effort_is_refused() -> None:
    redactor = SecretRedactor()
    redactor.add("x" * number + "a" * 8000 for number in range(150))

    with pytest.raises(RedactionLimit, match="Keep a smaller part of it, or replace secrets that repeat"):
        redactor.redact("a" * _RUN)
