"""Secrets of the kinds that people keep, and the ways in which programs write a text."""

import base64
import html
import html.entities
import itertools
import json
import re
import string
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Final

import yarl

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
    # The first and last characters that take as many bytes of UTF-8 or units of UTF-16, and those of each unit.
    "\u00a1\u07ff\u0800\ud7ff\ue000\ufffc\U00010000\U000103ff\U000bf7ff\U0010fc00\U0010ffff-Zq8w7e6r5t4",
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


def normalised(url: str) -> dict[str, str]:
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


URLS: Final = tuple(value for value in VALUES if "://" in value and value[0] in "hH")
