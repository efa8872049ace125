"""The texts to search for in order to find a secret: its canonical forms, and encodings without a canonical form."""

import base64
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import yarl

from flowrunner.security.canonical import ESCAPE, folded, views

# Shorter texts would also match where they are unrelated to the secret.
LEAST_BYTES: Final = 8
# Many servers have the same short paths.
_LEAST_TARGET: Final = 16
# The start of an escape at the end of a secret. The characters after the secret may complete it, and decoding the
# text then replaces both.
_STARTED_ESCAPE: Final = re.compile(
    rb"(?:%|%[0-9A-F]|%u[0-9A-F]{0,3}|\\|\\[0-3][0-7]?|\\x[0-9A-F]?|\\u[0-9A-F]{0,3}|\\u\{[0-9A-F]{0,6}"
    rb"|\\U[0-9A-F]{0,7}|&|&[A-Z][0-9A-Z]{0,5}|&#[0-9]{0,7}|&#X[0-9A-F]{0,6})\Z",
    re.IGNORECASE,
)
# Starts of every kind of escape. The text before a secret may end in one, which the start of the secret completes.
_BEGUN_ESCAPES: Final = (
    *(b"\\", b"\\0", b"\\00", b"\\x", b"\\x0", b"\\u{", b"\\u{0", b"\\ud83d", b"%", b"%0", b"%ud83d"),
    *(prefix + b"0" * digits for prefix in (b"\\u", b"%u") for digits in range(4)),
    *(b"\\U" + b"0" * digits for digits in range(8)),
    *(b"&", b"&a", b"&#", b"&#0", b"&#x", b"&#x0"),
    *(b"%C", b"%C3", b"%E", b"%E2", b"%E2%82", b"%F", b"%F0", b"%F0%9F", b"%F0%9F%98"),
    *(b"\\xC3", b"\\xE2", b"\\xE2\\x82", b"\\xF0", b"\\xF0\\x9F", b"\\xF0\\x9F\\x98"),
)
_LONGEST_ESCAPE: Final = 40
_LINE_BREAK: Final = re.compile(r"\r\n|\r|\n")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]")


class Needle(NamedTuple):
    """A text to search for.

    Attributes:
        backwards: The text as folded views contain it, reversed, one character for each byte.
        is_rest: The text is a secret without its start, so it counts only directly after a decoded escape.
    """

    backwards: str
    is_rest: bool


def needles_of(secret: str) -> Sequence[Needle]:
    """Return the texts to search for in order to find a secret."""
    raw = secret.encode("utf-8", "surrogatepass")
    # Servers remove the space around the value of a header, and people that around what they have copied.
    trimmed = secret.strip().encode("utf-8", "surrogatepass") or raw
    # Also if it is short: the caller must reject values that are too short.
    whole = {folded(raw) or raw: None}
    rests: dict[bytes, None] = {}
    others = (text.encode("utf-8", "surrogatepass") for text in (*_in_one_line(secret), *_urls(secret.strip())))
    for form in dict.fromkeys((raw, trimmed, *others)):
        for view, _ in views(form, around=len(form), quotes=True):
            for end in (len(view), len(_STARTED_ESCAPE.sub(b"", view))):
                whole[folded(view[:end])] = None
                rests |= dict.fromkeys(folded(view[start:end]) for start in _starts_of_rests(view))
    for text in {raw: None, trimmed: None}:
        whole |= dict.fromkeys(map(folded, (*_base64(text), text.hex().encode())))
    whole |= dict.fromkeys(map(folded, _base64_of_credentials(secret.strip())))
    return [
        Needle(backwards(needle), needle not in whole)
        for number, needle in enumerate(whole | rests)
        if number == 0 or len(needle) >= LEAST_BYTES
    ]


def backwards(text: bytes) -> str:
    return text[::-1].decode("latin-1")


def _starts_of_rests(view: bytes) -> Iterator[int]:
    """Yield how many bytes at the start of a secret an escape takes that the text before it begins."""
    start = view[:_LONGEST_ESCAPE]
    for begun in _BEGUN_ESCAPES:
        found = ESCAPE.match(begun + start)
        if found is not None and found.end() > len(begun):
            yield found.end() - len(begun)


def _in_one_line(secret: str) -> Sequence[str]:
    """Return a secret of several lines as messages show it: with blanks for line breaks, and without other ones."""
    text = secret.strip()
    return (_LINE_BREAK.sub(" ", text), " ".join(text.split())) if _LINE_BREAK.search(text) else ()


def _urls(secret: str) -> Iterator[str]:
    """Yield a URL as clients send it, as browsers show it, and its path and query, which servers report."""
    if not _URL.match(secret):
        return
    try:
        url = yarl.URL(secret)
        plain = url.with_user(None) if url.user is not None else url
        yield from (str(url), str(plain), url.human_repr(), plain.human_repr())
    except (ValueError, TypeError):
        return
    if len(url.raw_path_qs) >= _LEAST_TARGET:
        yield url.raw_path_qs


def _base64(raw: bytes) -> Iterator[bytes]:
    """Yield the base64 characters of a value at each of the three alignments."""
    for offset in range(3):
        padded = b"\x00" * offset + raw
        # Characters at both ends that also depend on neighbouring bytes are removed.
        skip, whole = (0, 2, 3)[offset], len(padded) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            yield encode(padded)[skip:whole]


def _base64_of_credentials(secret: str) -> Iterator[bytes]:
    """Yield the basic authentication that clients derive from user and password in a URL."""
    try:
        url = yarl.URL(secret) if _URL.match(secret) else None
        if url is not None and url.user is not None:
            yield from _base64(f"{url.user}:{url.password or ''}".encode())
    except (ValueError, TypeError):
        return
