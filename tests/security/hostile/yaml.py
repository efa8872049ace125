"""Documents that cost more to parse than they have characters."""

from typing import Final

from security.hostile.case import RETURN, Case

CASES: Final = (
    Case("many directives", lambda a: a.validate("%TAG !a! tag:a\n" * 60_000 + "---\n" + RETURN)),
    Case("directives between two documents",
         lambda a: a.validate(RETURN + "\n...\n" + "".join(f"%TAG !a{n}! b\n" for n in range(50_000)))),
    Case("directives behind another line break",
         lambda a: a.validate(RETURN + "\x85" + "".join(f"%TAG !a{n}! b\x85" for n in range(50_000)))),
    Case("aliases of aliases of a long text",
         lambda a: a.validate("a: &a " + "x" * 300_000 + "\nb: &b [*a, *a, *a]\nc: [" + "*b, " * 2000 + "]")),
    Case("a long list", lambda a: a.validate("nodes: [" + "1," * 400_000 + "]")),
    Case("deep brackets", lambda a: a.validate("[" * 900_000)),
    Case("deep braces", lambda a: a.validate("{a: " * 200_000)),
    Case("a megabyte of one scalar", lambda a: a.validate("nodes: '" + "x" * 1_000_000 + "'")),
    Case("indentation that goes up and down", lambda a: a.validate("".join("a:\n" + " b:\n" for _ in range(120_000)))),
    Case("many anchors", lambda a: a.validate("nodes: [" + ",".join(f"&a{n} x" for n in range(90_000)) + "]")),
    Case("many faults within a long key",
         lambda a: a.validate('? "' + "k" * 500_000 + '"\n: [' + ", ".join(["!a b"] * 9000) + "]")),
    Case("many expressions within a long key",
         lambda a: a.validate('nodes:\n  a:\n    type: transform\n    params:\n      value:\n        ? "'
                              + "k" * 400_000 + '"\n        : [' + ", ".join(['"${zz}"'] * 8000) + "]\n")),
    Case("the graph of many nodes within a long name",
         lambda a: a.account.post("/api/v1/flows/graph", {"definition": 'nodes:\n  ? "' + "k" * 500_000
                   + '"\n  : {type: foreach, nodes: {' + ", ".join(f"n{n}: {{}}" for n in range(4000)) + "}}\n"})),
    Case("schedules on a day that a zone has left out",
         lambda a: a.validate(RETURN + "\ntriggers:\n" + "".join(
             f'  t{n}: {{type: schedule, cron: "0-{n % 60} 0-23 30 12 *", timezone: Pacific/Apia,'
             ' start: "2011-12-29T00:00:00"}\n' for n in range(100)))),
    Case("many duplicate keys", lambda a: a.validate("{" + "a: 1, " * 150_000 + "}")),
    Case("many comments", lambda a: a.validate("# x\n" * 250_000 + RETURN)),
    Case("an open quote", lambda a: a.validate("nodes: \"" + "a\n" * 400_000)),
)  # fmt: skip
