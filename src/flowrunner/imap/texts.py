"""Texts of e-mails: charsets, encoded words in headers, and names in parameters."""

import binascii
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

from flowrunner.domain.charsets import codec_named
from flowrunner.domain.cut_texts import without_last_word

# Charsets whose letters senders use under the name of a smaller one. Source: WHATWG, Encoding, "Names and labels".
_LARGER: Final[Mapping[str, str]] = {
    "ascii": "cp1252", "latin_1": "cp1252", "gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932",
    "euc_kr": "cp949", "big5": "big5hkscs", "iso8859_9": "cp1254", "iso8859_11": "cp874",
}  # fmt: skip
_ENCODED: Final = re.compile(r"=\?([^\s?=*]{1,60})(?:\*[^\s?=]{0,20})?\?([bq])\?([^?]{0,1000})\?=", re.IGNORECASE)
_FOLDED: Final = re.compile(r"\r?\n(?=[ \t])|[\r\n]+")
# All but tab and line feed: databases cannot store a NUL in text, and the others mean nothing.
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_BREAK: Final = re.compile(r"[\r\n\t\x85\u2028\u2029]+")
_NO_BASE64: Final = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))
# Of a header that is shown.
_MOST_HEADER_BYTES: Final = 8 * 1024
_PARAMETER: Final = re.compile(r"([^*]+)(?:\*(\d{1,3}))?(\*)?")


def decoded(data: bytes, charset: str | None) -> str:
    """Return a text. Bytes that its charset has not, or whose charset is not known, are UTF-8 if they can be."""
    codec = codec_named(charset) if charset else "ascii"
    if codec is None or codec in ("ascii", "latin_1"):
        # Many a sender writes UTF-8 and says something else.
        try:
            return data.decode("utf_8")
        except UnicodeDecodeError:
            codec = codec or "ascii"
    return data.decode(_LARGER.get(codec, codec), "replace")


def readable(text: str) -> str:
    """Return a text of several lines without control characters."""
    return _CONTROL.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n").removeprefix("\ufeff"))


def header_text(data: bytes) -> str:
    """Return the text of a header: one line, with its encoded words decoded (RFC 2047)."""
    text = _FOLDED.sub("", decoded(data[:_MOST_HEADER_BYTES], None))
    if len(data) > _MOST_HEADER_BYTES:
        text = without_last_word(text)
    shown: list[str] = []
    # Bytes of words one after the other: senders split a character between two of them.
    charset, word, position = "", b"", 0
    for found in _ENCODED.finditer(text):
        between = text[position : found.start()]
        if not word or between.strip() or found[1].lower() != charset:
            shown.append(decoded(word, charset))
            word = b""
        if between.strip() or position == 0:
            shown.append(between)
        charset, position = found[1].lower(), found.end()
        word += _word(found[2], found[3])
    shown += (decoded(word, charset), text[position:])
    return _one_line("".join(shown))


def _word(encoding: str, text: str) -> bytes:
    data = text.encode("utf-8")
    return base64_bytes(data) if encoding in "bB" else binascii.a2b_qp(data, header=True)


def base64_bytes(data: bytes) -> bytes:
    """Return what is base64, as far as it is."""
    letters = data.partition(b"=")[0].translate(None, _NO_BASE64)
    # A single letter at the end stands for no byte.
    letters = letters[: len(letters) - (len(letters) % 4 == 1)]
    return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))


def has_more_base64(data: bytes) -> bool:
    """Return whether letters follow the end that `base64_bytes` finds, such as another text."""
    return bool(data.partition(b"=")[2].translate(None, _NO_BASE64))


def parameter(parameters: Mapping[str, bytes], name: str) -> str:
    """Return a parameter of a content type, whose value may be in several parts (RFC 2231); empty if there is none."""
    if (value := parameters.get(name)) is not None:
        return header_text(value)
    pieces: dict[int, tuple[bytes, bool]] = {}
    for key, value in parameters.items():
        found = _PARAMETER.fullmatch(key)
        if found is not None and found[1] == name:
            pieces[int(found[2] or 0)] = value, found[3] is not None
    charset, data = "", b""
    for number in sorted(pieces):
        value, is_coded = pieces[number]
        if number == 0 and is_coded and value.count(b"'") >= 2:
            written, _, value = value.split(b"'", 2)
            charset = written.decode("ascii", "replace")
        data += unquote_to_bytes(value) if is_coded else value
    return _one_line(decoded(data, charset))


def _one_line(text: str) -> str:
    return _CONTROL.sub("\ufffd", " ".join(_BREAK.split(text)))
