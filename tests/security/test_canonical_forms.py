"""A secret is hidden in whatever way its characters are written, and ordinary text stays as it is.

A case is a secret, an encoding of it and a text around it. The text around it has to come out unchanged, so that
a redactor that hides too much fails as one that hides too little does.
"""

import base64
import itertools
import json
import random
import string
import time
import tracemalloc
import urllib.parse
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from flowrunner.domain.errors import RedactionLimit
from flowrunner.security.redaction import SecretRedactor
from security.written_secrets import AROUND, ENCODINGS, URLS, VALUES, normalised
from support.scoreboard import Scoreboard


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


@pytest.mark.parametrize("around", [("  ", " "), ("", "\t"), ("", "\n"), ("\r\n", "\n")])
def test_s26_s65_a_secret_with_blanks_around_it_is_hidden_without_them_too(around: tuple[str, str]) -> None:
    value = "a key/with ä?&9"
    raw = value.encode()
    redactor = SecretRedactor()
    redactor.add([value.join(around)])

    forms = [value, urllib.parse.quote(value, safe=""), json.dumps(value), raw.hex()]
    forms += [base64.b64encode(b"xyz"[:shift] + raw + after).decode() for shift in range(3) for after in (b"", b"~~")]

    for form in forms:
        assert "***" in str(redactor.redact(f"<{form}>")), form


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_s26_s65_a_secret_of_several_lines_is_hidden_in_one_line_too(line_break: str) -> None:
    value = '{\n  "name": "ada",\n  "key": "MIGH/AgEA"\n}\n'
    redactor = SecretRedactor()
    redactor.add([value.replace("\n", line_break)])

    for shown in (" ".join(value.split()), value.strip().replace("\n", " "), value.strip().replace("\n", "")):
        for form in (shown, json.dumps(shown)[1:-1], urllib.parse.quote_plus(shown)):
            assert redactor.redact(f"<{form}>") == "<***>", form


def test_s26_s65_a_url_with_blanks_around_it_is_hidden_as_clients_send_it() -> None:
    redactor = SecretRedactor()
    redactor.add([" HTTPS://User:a-password@Example.COM:443/a/../services/T00/B00/x9 \n"])

    for form in ("https://example.com/services/T00/B00/x9", base64.b64encode(b"User:a-password").decode()):
        assert redactor.redact(f"<{form}>") == "<***>"


@pytest.mark.parametrize("value", URLS)
def test_s26_s65_a_url_is_hidden_as_clients_normalise_it(value: str, scoreboard: Scoreboard) -> None:
    redactor = SecretRedactor()
    redactor.add([value])

    shown = {}
    for name, form in normalised(value).items():
        for around in AROUND:
            hidden = str(redactor.redact(around.format(form)))
            # The last piece of every value is what nobody may see.
            piece = value[-12:]
            if "***" not in hidden or piece in hidden or piece in urllib.parse.unquote_plus(hidden):
                shown[name] = hidden

    scoreboard.count("canonical forms: URLs that show a secret", cases=13 * len(AROUND), failures=len(shown))
    assert shown == {}


@pytest.mark.parametrize("count", [1, 3, 8, 9, 40])
def test_a_secret_among_rows_of_backslashes_is_hidden_alone(count: int) -> None:
    row = "\\" * count
    redactor = SecretRedactor()
    redactor.add([f"first{row}last"])

    for times in range(4):
        written = f"first{row * 2**times}last"
        # An even number of backslashes before it escapes none of it.
        around = "\\" * 32
        assert redactor.redact(f"{around}{written}{around}") == f"{around}***{around}"


def test_a_megabyte_of_backslashes_takes_little_memory_to_redact() -> None:
    redactor = SecretRedactor()
    redactor.add([f"secret-number-{number}" for number in range(20)])
    text = "\\" * 1_000_000

    tracemalloc.start()
    try:
        assert redactor.redact(text) == text
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    # Not a piece for every two of them.
    assert peak <= 16 * len(text)


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


# Secrets that end in the start of an escape, and what completes it
STARTED: Final = (
    ("\\", "]"), ("\\", '"'), ("\\", "n"), ("\\\\\\", "]"), ("\\1", "01"), ("\\x4", "1"), ("\\u004", "1"),
    ("\\u{4", "1}"), ("\\U0000004", "1"), ("%", "41"), ("%4", "1"), ("%u004", "1"), ("&", "lt;"), ("&quot", ";"),
    ("&#6", "0;"), ("&#x3", "c;"),
)  # fmt: skip


@pytest.mark.parametrize(("start", "rest"), STARTED)
@pytest.mark.parametrize("encoded", ["&lt;", "\\u003c", "%3C"])
def test_s65_a_secret_is_hidden_where_what_follows_completes_an_escape(start: str, rest: str, encoded: str) -> None:
    redactor = SecretRedactor()
    redactor.add([f"Zx9Kq2Vb7<{start}"])

    hidden = str(redactor.redact(f"[Zx9Kq2Vb7{encoded}{start}{rest}]"))

    assert "***" in hidden
    assert "Zx9Kq2Vb7" not in hidden


# Starts of escapes, and secrets that begin with the rest of them
FINISHED: Final = (
    ("C:\\", "network"), ("\\", "]etwork"), ("100%", "abcdef"), ("100%a", "bcdefg"), ("%u00", "4etwork"),
    ("\\x", "abcdef"), ("\\u", "0041etwork"), ("\\u00", "41etwork"), ("\\u{4", "1}etwork"), ("\\U", "00000041etwork"),
    ("\\1", "01etwork"), ("&", "lt;etwork"), ("&l", "t;etwork"), ("&#6", "0;etwork"), ("&#x3", "c;etwork"),
    ("%C3", "%A9etwork"), ("\\ud83d", "\\ude00etwork"),
)  # fmt: skip


@pytest.mark.parametrize(("before", "start"), FINISHED)
@pytest.mark.parametrize("encoded", ["&lt;", "\\u003c", "%3C"])
def test_s65_a_secret_is_hidden_where_it_completes_an_escape(before: str, start: str, encoded: str) -> None:
    redactor = SecretRedactor()
    redactor.add([f"{start}<keyQ9>"])

    hidden = str(redactor.redact(f"[{before}{start}{encoded}keyQ9>]"))

    assert "***" in hidden
    assert "keyQ9" not in hidden


@pytest.mark.parametrize("before", ["C:\\", "\\", "%2C \\", "%2C ", ""])
def test_s65_texts_before_a_secret_without_its_start_stay_shown(before: str) -> None:
    redactor = SecretRedactor()
    redactor.add(["network<keyQ9>"])
    # So far from escapes that the search leaves it out
    plain = "plain text " * 100

    hidden = redactor.redact([plain, f"{plain}{before}network&lt;keyQ9&gt;", plain])

    assert hidden[0] == hidden[2] == plain  # type: ignore[index]
    # A line break that the escape is taken for hides one character more.
    assert str(hidden[1]).startswith(plain[:-1])  # type: ignore[index]
    assert "keyQ9" not in str(hidden)


@pytest.mark.parametrize("text", ["etwork<keyQ9>", "\\n etwork<keyQ9>", "\\n\\network<keyQ9", "&lt;xetwork<keyQ9>"])
def test_s65_the_end_of_a_secret_alone_stays_shown(text: str) -> None:
    redactor = SecretRedactor()
    redactor.add(["network<keyQ9>"])

    assert redactor.redact(text) == text


_PATHS: Final = st.lists(
    st.sampled_from(["JSON", "form", "HTML", "percent, every second, mixed", "SQL", "\\u upper, letters"]), max_size=2
)


@given(secret=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=12, max_size=40), path=_PATHS)
@example(secret="0000000000<\\", path=["HTML"])
def test_s65_encodings_of_encodings_are_hidden(secret: str, path: list[str]) -> None:
    redactor = SecretRedactor()
    redactor.add([secret])
    text = secret
    for name in path:
        text = ENCODINGS[name](text)

    assert "***" in str(redactor.redact(f"[{text}]"))


_STARTS: Final = st.sampled_from(
    [
        "",
        "C:\\",
        "100%",
        "%4",
        "%u",
        "%u00",
        "\\x",
        "\\u",
        "\\u00",
        "\\u{",
        "\\U",
        "\\1",
        "&",
        "&l",
        "&#6",
        "&#x3",
        "'",
        '"',
        "%C3",
    ]
)


@given(
    before=_STARTS,
    secret=st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=24, max_size=40),
    encoding=st.sampled_from(["JSON", "form", "HTML", "SQL", "\\u upper, letters"]),
)
def test_s65_a_secret_in_an_encoding_is_hidden_after_any_text(before: str, secret: str, encoding: str) -> None:
    # A secret that itself looks like escapes of two kinds is not found where a third was added.
    assume("\\" not in secret or not {"%", "&"} & set(secret))
    redactor = SecretRedactor()
    redactor.add([secret])

    assert "***" in str(redactor.redact(f"{before}{ENCODINGS[encoding](secret)}"))


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


def _repeats() -> dict[str, Callable[[], tuple[list[str], Any]]]:
    draw = random.Random(7)

    def letters(length: int) -> str:
        return "".join(draw.choices(string.ascii_letters + string.digits, k=length))

    def mixed() -> list[str]:
        return [letters(32) for _ in range(1000)]

    def in_a_megabyte() -> tuple[list[str], Any]:
        secrets = mixed()
        return secrets, "".join(draw.choices(secrets, k=33_000))

    def as_keys() -> tuple[list[str], Any]:
        secrets = mixed()
        return secrets, [{secret: 1} for secret in secrets] * 5

    def deep() -> tuple[list[str], Any]:
        secrets = mixed()
        nested: Any = secrets[0]
        for _ in range(500):
            nested = [{secrets[1]: nested}]
        return secrets, nested

    return {
        "a common beginning, and a run of it": lambda: (["a" * 40 + letters(10) for _ in range(150)], "a" * _RUN),
        "a long common beginning": lambda: (["a" * 8000 + letters(10) for _ in range(150)], "a" * _RUN),
        "a common end": lambda: ([letters(10) + "a" * 90 for _ in range(150)], "a" * _RUN),
        "repetitions of one another": lambda: (["a" * length for length in range(8, 208)], "a" * _RUN),
        "repetitions of two characters": lambda: (["ab" * length for length in range(4, 200)], "ab" * (_RUN // 2)),
        "1,000 random secrets in a megabyte of them": in_a_megabyte,
        "keys": as_keys,
        "depth": deep,
        "backslashes": lambda: (mixed(), "\\" * _RUN),
        "escapes of one character": lambda: (["a" * length for length in range(8, 208)], "\\u0061" * (_RUN // 6)),
    }


@pytest.mark.parametrize("shape", _repeats())
def test_s26_hiding_takes_time_in_proportion_to_the_text(shape: str) -> None:
    """A product of secrets and text would take minutes of processor time."""
    secrets, value = _repeats()[shape]()
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
