"""Values that must show nowhere, the forms in which they travel, and a search for all of them at once."""

import base64
import html
import json
import random
import shlex
import string
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any, Final

import ahocorasick

# Long, so that a part of it is noticed; without a repeat, so that no part is found by chance.
PLAIN: Final = "kD7xQ2mZ9vLpT4bWcR8nHsY3gJfA6uEeK1qMiXoPzBtCwNhVyGdS5rFlUjOa0IkT"
SPECIAL: Final = "p@ss'w\"rd<&>/+=%\\é✓;$(x)`|-Q7vN2kX9"
# Pieces of this many characters are looked for, as cutting a value leaves them.
PIECE: Final = 10

# A node type as somebody might write it: what it is given is in its exception, and in the chain behind it.
CRASHING: Final = """
from flowrunner.cli.main import main
from flowrunner.nodes.log import Log

usual = Log.run

async def run(self, params, context):
    if "crash" in params.message:
        try:
            raise LookupError(params.message)
        except LookupError as error:
            raise ValueError({"data": params.data, params.message: 1}) from error
    if "not JSON" in params.message:
        return {"data": params.data, "message": {params.message}}
    if "too large" in params.message:
        return params.message + "x" * 3_000_000
    return await usual(self, params, context)

Log.run = run
main()
"""


def _canaries() -> dict[str, str]:
    """Fifty secrets of every kind that people have, by the name they are stored under."""
    draw = random.Random(26)

    def letters(length: int, alphabet: str = string.ascii_letters + string.digits) -> str:
        return "".join(draw.choices(alphabet, k=length))

    values = [
        PLAIN,
        SPECIAL,
        *(letters(length) for length in (8, 9, 12, 16, 20, 24, 32, 40, 48, 62, 63, 64, 65, 100, 250, 256, 257, 400)),
        *(letters(length) for length in (1000, 4096, 8000)),
        # Written by machines.
        letters(40, "0123456789abcdef"),
        "-".join(letters(length, "0123456789abcdef") for length in (8, 4, 4, 4, 12)),
        base64.b64encode(draw.randbytes(48)).decode(),
        "whsec_" + base64.b64encode(draw.randbytes(32)).decode(),
        f"https://{letters(12)}:{letters(20)}@db.internal:5432/{letters(8)}?ssl={letters(12)}",
        json.dumps({letters(12): letters(12), letters(9): f"{letters(64)}\n{letters(64)}\n"}),
        "\n".join(letters(64) for _ in range(6)),
        "\r\n".join(letters(20) for _ in range(3)),
        "\t".join(letters(20) for _ in range(2)),
        letters(16, "123456789"),
        f"{letters(9, '123456789')}.{letters(5, '123456789')}",
        ".".join(letters(30) for _ in range(3)),
        # Written by people.
        " ".join(letters(11) for _ in range(4)),
        f"  {letters(20)}  ",
        f"ключ-{letters(12)}-äöü-{letters(12)}",
        f"🔑{letters(12)}🙂{letters(12)}",
        f"\u202e{letters(12)}\u2028{letters(12)}\u00a0{letters(12)}",
        f"'{letters(12)}''{letters(12)}'",
        f'"{letters(12)}\\"{letters(12)}\\',
        f"<b>{letters(12)}</b>&amp;{letters(12)}",
        f"%41{letters(12)}%2f{letters(12)}+{letters(12)}",
        f"a&{letters(12)}=b;{letters(12)}#{letters(12)}",
        f"${{{letters(12)}}}{letters(12)}$${letters(12)}",
        f"`${{{letters(12)}}}`{letters(12)}$(id)",
        f"{{{{{letters(12)}}}}}[{letters(12)}]: {letters(12)}",
        f"{letters(12)}\x7f{letters(12)}\x1b[31m{letters(12)}",
        f"{letters(12)}\ufeff{letters(12)}\ufffd{letters(12)}",
    ]
    return {f"K{number:02}": value for number, value in enumerate(values)}


CANARIES: Final = _canaries()


def forms(value: str) -> dict[str, str]:
    """A value as it commonly travels."""
    raw = value.encode()
    percent = urllib.parse.quote(raw, safe="")
    found = {
        "raw": value,
        "base64url": base64.urlsafe_b64encode(raw).decode()[: len(raw) * 8 // 6],
        "percent": percent,
        "percent, lower case": "".join(chr(b) if chr(b).isascii() and chr(b).isalnum() else f"%{b:02x}" for b in raw),
        "every byte percent": "".join(f"%{b:02X}" for b in raw),
        "every byte percent, lower case": "".join(f"%{b:02x}" for b in raw),
        "double percent": urllib.parse.quote(percent, safe=""),
        "plus": urllib.parse.quote_plus(raw),
        "JSON": json.dumps(value)[1:-1],
        "JSON of JSON": json.dumps(json.dumps(value)[1:-1])[1:-1],
        "JSON, all escaped": "".join(f"\\u{unit.hex()}" for unit in _utf16_units(value)),
        "HTML": html.escape(value),
        "HTML, decimal": "".join(f"&#{ord(c)};" for c in value),
        "HTML, hexadecimal": "".join(f"&#x{ord(c):x};" for c in value),
        "hex": raw.hex(),
        "HEX": raw.hex().upper(),
        "shell": shlex.quote(value),
        "SQL": value.replace("'", "''"),
        "encodeURI": urllib.parse.quote(raw, safe=";/?:@&=+$,#!'()*"),
        "encodeURIComponent": urllib.parse.quote(raw, safe="!'()*"),
        "Python": repr(value)[1:-1],
        "Python, beside both quotes": repr(f"'\"{value}")[4:-1],
        "UTF-16": "\x00".join(value),
        "UTF-16 after NULs were replaced": "\ufffd".join(value),
    }
    for offset in range(3):
        # The characters that depend on this value alone, whatever stands around it.
        encoded = base64.b64encode(b"\0" * offset + raw).decode()
        found[f"base64 at {offset}"] = encoded[(0, 2, 3)[offset] : (offset + len(raw)) * 8 // 6]
    return found


def parts(value: str, length: int = PIECE) -> dict[str, str]:
    """Pieces of a value, as cutting it leaves them; of long ones not every piece, but some of each longer one."""
    apart = 1 if len(value) <= 100 else length
    return {f"characters {i} to {i + length}": value[i : i + length] for i in range(0, len(value) - length + 1, apart)}


def leaks(sinks: Mapping[str, str | bytes], values: Iterable[str]) -> list[str]:
    """Where values show, in any form or as a piece: `base64 at 1 of kD7x… in server log`."""
    search = ahocorasick.Automaton()
    for value in values:
        for name, form in {**parts(value), **forms(value)}.items():
            for data in written(form):
                search.add_word(data.decode("latin-1"), f"{name} of {value[:4]}…")
    search.make_automaton()
    found: dict[str, None] = {}
    for sink, content in sinks.items():
        raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
        found |= {f"{leak} in {sink}": None for _, leak in search.iter(raw.decode("latin-1"))}
    return list(found)


def _utf16_units(text: str) -> Iterable[bytes]:
    data = text.encode("utf-16-be")
    return (data[at : at + 2] for at in range(0, len(data), 2))


def written(form: str) -> set[bytes]:
    """The bytes that a text is stored and sent as."""
    return {
        form.encode(),
        form.encode("utf-16-le"),
        json.dumps(form)[1:-1].encode(),
        json.dumps(form, ensure_ascii=False)[1:-1].encode(),
    }


def nested(value: str, levels: int = 60) -> Any:
    """A value, as key and as value, at the bottom of many levels."""
    nest: Any = {"a": value, value: "a"}
    for _ in range(levels):
        nest = [{"a": nest}]
    return nest
