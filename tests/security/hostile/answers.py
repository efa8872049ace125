"""Flows that call servers whose answers cost more to read than to send."""

from collections.abc import Iterable
from typing import Final
from urllib.request import Request, urlopen

from security.answers import BOMBS, Bomber
from security.hostile.case import Attacker, Case, long_case


def _call(attacker: Attacker, names: Iterable[str]) -> None:
    """Call a server for each of these answers, many times at once."""
    timeout = "5s" if attacker.is_whole else "2s"
    bomber, numbers = Bomber(), [list(BOMBS).index(name) for name in names]
    urls = [f"{bomber.url}/{number}" for number in numbers] * attacker.many(20, 60)
    try:
        attacker.run(
            "nodes:\n  each:\n    type: foreach\n"
            f'    params: {{items: "${{flow.input.urls}}", concurrency: {min(len(urls), 100)}, on_error: continue}}\n'
            # In CI too, requests reach it before the execution is cancelled.
            f'    nodes: {{ask: {{type: http.request, params: {{url: "${{item}}", timeout: {timeout}}}}}}}\n',
            {"urls": urls},
            seconds=attacker.many(3, 30),
        )
    finally:
        bomber.close()


def _number(attacker: Attacker, number: bytes) -> None:
    """Call a server that answers with a megabyte of one number, and give that to many branches."""
    url = f"{attacker.receiver.url}/keep/{number[:8].hex()}"
    body = b"[" + b",".join([number] * (1_000_000 // (len(number) + 1))) + b"]"
    urlopen(Request(f"{url}?type=application/json", body, method="PUT")).close()
    branch = {"nodes": {"a": {"type": "transform", "params": {"value": 1}}}}
    attacker.run({"nodes": {
        "ask": {"type": "http.request", "params": {"url": url}, "output": "${result.body}", "next": "each"},
        "each": {"type": "parallel", "branches": {f"b{n}": branch for n in range(12)}},
    }})  # fmt: skip


def _rounds(attacker: Attacker, element: bytes, rounds: int) -> None:
    """Call a server that answers with a megabyte of one element, in each round of a loop."""
    url = f"{attacker.receiver.url}/keep/rounds-{element[:8].hex()}"
    body = b"[" + b",".join([element] * (1_000_000 // (len(element) + 1))) + b"]"
    urlopen(Request(f"{url}?type=application/json", body, method="PUT")).close()
    attacker.run({"nodes": {"each": {
        "type": "foreach", "params": {"items": list(range(rounds)), "concurrency": rounds},
        "nodes": {"ask": {"type": "http.request", "params": {"url": url}, "output": "${result.body}"}},
    }}}, seconds=30)  # fmt: skip


CASES: Final = (
    long_case("1xx answers without end", lambda a: _call(a, ["1xx answers without end", "100 Continue without end"])),
    long_case("chunks of one byte", lambda a: _call(a, ["chunks of one byte"])),
    Case("heads without end", lambda a: _call(a, ["1,000,000 headers", "1,000,000 cookies", "empty lines without end",
                                                  "a folded header without end", "trailers without end"])),
    Case("answers that nobody asked for", lambda a: _call(a, ["answers that nobody asked for"])),
    long_case("packed answers",
         lambda a: _call(a, ["gzip, many members", "gzip without content", "gzip, 1 GB in one piece"])),
    long_case("chunks that are mostly frame",
         lambda a: _call(a, ["a chunk extension without end", "a chunk size without end", "chunks of 8 bytes"])),
    Case("numbers that are almost 0", lambda a: _number(a, b"1e-320")),
    Case("numbers of thousands of digits", lambda a: _number(a, b"9" * 4290)),
    long_case("long results of many rounds", lambda a: _rounds(a, b"9" * 4290, a.many(8, 30))),
    Case("objects of many rounds", lambda a: _rounds(a, b"{}", a.many(3, 15))),
)  # fmt: skip
