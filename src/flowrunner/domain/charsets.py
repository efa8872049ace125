"""Charsets of texts, by the name that a content type gives them."""

import re
from encodings import normalize_encoding
from encodings.aliases import aliases
from typing import Final

_CHARSET: Final = re.compile(r';\s*charset\s*=\s*"?([^\s;"]+)', re.IGNORECASE)
_SINGLE_BYTE: Final = (
    *("ascii", "latin_1", "koi8_r", "koi8_u", "mac_roman", "mac_cyrillic", "cp437", "cp850", "cp866", "cp874"),
    *(f"iso8859_{number}" for number in (*range(2, 12), *range(13, 17))),
    *(f"cp{number}" for number in range(1250, 1259)),
)
# Python has more codecs. Some of those take quadratic time (punycode), and a lookup of an unknown name keeps that name.
_CODECS: Final = frozenset({
    *_SINGLE_BYTE,
    *("utf_8", "utf_16", "utf_16_le", "utf_16_be", "utf_32", "utf_32_le", "utf_32_be"),
    *("gb2312", "gbk", "gb18030", "big5", "big5hkscs", "euc_jp", "iso2022_jp", "shift_jis", "cp932", "euc_kr", "cp949"),
})  # fmt: skip


def codec_of(content_type: str) -> str | None:
    """Return the codec for the charset of a content type, UTF-8 if it names none, or None for an unknown charset."""
    found = _CHARSET.search(content_type)
    return "utf_8" if found is None else codec_named(found[1])


def codec_named(charset: str) -> str | None:
    """Return the codec of a charset, or None for an unknown one."""
    name = normalize_encoding(charset).lower()
    codec = aliases.get(name, name)
    return codec if codec in _CODECS else None
