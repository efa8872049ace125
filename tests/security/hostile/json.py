"""Bodies of requests that cost more to read than they have bytes."""

import json
from typing import Final

from security.hostile.case import Case

_VALIDATE: Final = "/api/v1/flows/validate"
_BATCH: Final = "/api/v1/flows:batch"

CASES: Final = (
    Case("many keys",
         lambda a: a.send("POST", _VALIDATE, json.dumps({f"k{n}": n for n in range(80_000)}).encode())),
    Case("many objects", lambda a: a.send("POST", _VALIDATE, b'{"definition":[' + b"{}," * 340_000 + b"{}]}")),
    Case("many numbers", lambda a: a.send("POST", _VALIDATE, b'{"definition":[' + b"1," * 510_000 + b"1]}")),
    Case("a number of a million digits",
         lambda a: a.send("POST", _VALIDATE, b'{"definition":' + b"9" * 1_000_000 + b"}")),
    Case("many escapes", lambda a: a.send("POST", _VALIDATE, b'{"definition":"' + rb"\u00e9" * 170_000 + b'"}')),
    # The longest bodies, whose lists are made by code that does not let other threads run.
    Case("millions of lists in each other",
         lambda a: a.send("POST", _BATCH, b'{"flows":[' + (b"[" * 55 + b"]" * 55 + b",") * 120_000 + b"[]]}")),
    Case("millions of objects", lambda a: a.send("POST", _BATCH, b'{"flows":[' + b'{"a":1},' * 2_000_000 + b"{}]}")),
    Case("deep brackets", lambda a: a.send("POST", _VALIDATE, b"[" * 1_000_000)),
)  # fmt: skip
