"""Whatever is sent as a flow, it is refused with its place: the server neither fails nor grows."""

import re
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.language.yaml_source import MAX_BYTES
from support.bad_documents import BAD, OF_WRONG_TYPES
from support.client import Client
from support.server import Server

# What reading the largest documents may leave behind, or take meanwhile.
MOST_KILOBYTES: Final = 256 * 1024
DOCUMENTS: Final = [text for _, text, _ in (*BAD, *OF_WRONG_TYPES)]


def kilobytes(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def places(faults: list[Any]) -> list[tuple[str, int, int]]:
    return [(fault["code"], fault["line"], fault["column"]) for fault in faults]


def test_no_bad_document_is_taken_and_none_makes_the_server_fail(server: Server, account: Client) -> None:
    before = kilobytes(server.pid, "VmHWM")

    for text in DOCUMENTS:
        reply = account.post("/api/v1/flows", {"name": "bad", "definition": text})

        # What no flow could hold is refused with the request: NUL, half of a pair, more bytes than a request may have.
        assert reply.status in (400, 413, 422), (text[:200], reply)
        told = reply.error["details"].get("errors", [])
        assert told or "\x00" in text or "\ud800" in text or len(text) > MAX_BYTES // 2, (text[:200], reply)
        for fault in told:
            assert fault["code"], text[:200]
            assert fault["message"], text[:200]
            assert 1 <= fault["line"] <= text.count("\n") + 2, text[:200]

    assert kilobytes(server.pid, "VmHWM") - before < MOST_KILOBYTES
    assert account.get("/api/v1/flows").json["total"] == 0


SOME: Final = [case for case in BAD if len(case[1]) < 10_000 and not {"\x00", "\ud800"} & set(case[1])][::5]


@pytest.mark.parametrize("case", SOME, ids=[name for name, _, _ in SOME])
def test_looking_at_a_bad_document_tells_what_saving_it_would(account: Client, case: tuple[str, str, Any]) -> None:
    _, text, faults = case

    saved = account.post("/api/v1/flows", {"name": "bad", "definition": text})
    looked_at = account.post("/api/v1/flows/validate", {"definition": text})

    assert places(saved.error["details"]["errors"]) == faults
    assert looked_at.status == 200
    told = looked_at.json["errors"]
    assert [place for place in places(told) if place in faults] == faults
