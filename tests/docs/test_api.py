"""The page about the API: its examples are one session, and each gets the answer that it shows."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from api.shapes import CODES
from docs.pages import API, ROOT, anchors, first_words, section
from flowrunner.api.http.errors import CODES_OF_ERRORS, STATUS
from flowrunner.api.http.guides import guide_of_error, guide_of_status
from flowrunner.domain.errors import FlowRunnerError
from flowrunner.services import selections
from flowrunner.storage import execution_search
from support.client import Client, Reply
from support.receiver import Receiver

_EXAMPLE: Final = re.compile(r"^```http\n(.*?)^```\n\n```json (\d{3})\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_SHORTENED: Final = re.compile(r"[\w-]+…")
# How long an execution may take to come to what an example shows.
_PATIENCE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Example:
    method: str
    path: str
    headers: Mapping[str, str]
    body: str
    status: int
    answer: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def examples() -> Iterator[Example]:
    for request, status, answer in _EXAMPLE.findall(API.read_text()):
        head, _, body = request.partition("\n\n")
        line, *headers = head.strip().split("\n")
        method, path = line.split(" ", 1)
        yield Example(method, path, dict(h.split(": ", 1) for h in headers), body.strip(), int(status), answer)


@dataclass
class Session:
    """Runs examples in order. A shortened text stands for the value that an earlier answer had in its place."""

    client: Client
    replaced: Mapping[str, str]
    meant: dict[str, str] = field(default_factory=dict)

    def play(self, example: Example) -> list[str]:
        """Send the request of an example; return the differences of the answer, after waiting for a late one."""
        wanted = json.loads(self.filled(example.answer))
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            reply = self._ask(example)
            found = list(self.differences(wanted, reply.json, ""))
            if reply.status != example.status:
                found.append(f"is answered with {reply.status}")
            if not found or example.method != "GET" or time.monotonic() > deadline:
                return found
            time.sleep(0.02)

    def filled(self, text: str) -> str:
        for written, value in self.replaced.items():
            text = text.replace(written, value)
        return text

    def _ask(self, example: Example) -> Reply:
        path = _SHORTENED.sub(lambda found: self.meant[found[0]], example.path)
        headers = dict(example.headers)
        if example.body:
            headers.setdefault("Content-Type", "application/json")
        return self.client.request(example.method, path, self.filled(example.body).encode() or None, headers)

    def differences(self, wanted: Any, found: Any, at: str) -> Iterator[str]:
        match wanted:
            case dict() if isinstance(found, dict):
                yield from (f"{at}.{name} is not there" for name in wanted.keys() - found.keys())
                yield from (f"{at}.{name} is not told" for name in found.keys() - wanted.keys())
                for name in wanted.keys() & found.keys():
                    yield from self.differences(wanted[name], found[name], f"{at}.{name}")
            case list() if isinstance(found, list) and len(found) == len(wanted):
                for index, (w, f) in enumerate(zip(wanted, found, strict=True)):
                    yield from self.differences(w, f, f"{at}[{index}]")
            case str() if wanted.endswith("…") and isinstance(found, str):
                kind = re.match(r"[a-z]+[-_]|eyJ|", wanted)
                if self.meant.setdefault(wanted, found) != found and kind is not None and kind[0]:
                    yield f"{at} is {found}, which {wanted} is not"
                if kind is not None and not found.startswith(kind[0]):
                    yield f"{at} is {found}"
            case str() if _MOMENT.fullmatch(wanted) and isinstance(found, str) and _MOMENT.fullmatch(found):
                return
            case int() if at.endswith((".duration", ".queued")) and isinstance(found, int):
                return
            case _ if wanted != found:
                yield f"{at} is {found!r}, not {wanted!r}"


def test_every_example_is_answered_as_it_says(account: Client, receiver: Receiver) -> None:
    replaced = {"user@example.com": account.email, "http://127.0.0.1:9000": receiver.url}
    session = Session(account, replaced)

    wrong = [f"{example}: {text}" for example in examples() for text in session.play(example)]

    assert wrong == []


def test_an_example_with_another_answer_is_found(account: Client) -> None:
    true = Example("GET", "/api/v1/flows", {}, "", 200, '{"flows": [], "total": 0, "limit": 10, "offset": 0}')
    session = Session(account, {})

    assert session.play(true) == []
    for answer in ('{"flows": [], "total": 1, "limit": 10, "offset": 0}', '{"flows": [], "total": 0, "limit": 10}'):
        # One that changes nothing, and is not waited for.
        assert session.play(replace(true, method="POST", path="/api/v1/flows/validate", body="{}", answer=answer))


def test_no_example_is_left_out() -> None:
    text = API.read_text()

    assert len(list(examples())) == text.count("```http") >= 15
    for block in re.findall(r"^```json[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        json.loads(block)


def test_every_route_is_on_the_page(account: Client) -> None:
    text = API.read_text()
    named = set(re.findall(r"(?:/api/v1|/hooks|/healthz|/readyz|/metrics)[^\s`?]*", text))
    shapes = {re.sub(r"\{\w+\}|[\w-]+…|API_KEY|(?<=signals/)\S+|(?<=approvals/)\S+", "*", path) for path in named}
    described = account.get("/api/v1/openapi.json").json["paths"]

    missing = {path for path in described if re.sub(r"\{\w+\}", "*", path) not in shapes}
    assert missing == set()


def test_every_code_of_an_error_is_on_the_page() -> None:
    told = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", section(API, "Errors"), re.MULTILINE)
    special = {
        (next(STATUS[parent] for parent in kind.__mro__ if parent in STATUS), code)
        for kind, code in CODES_OF_ERRORS.items()
    }

    assert {(int(status), code) for status, code in told} == CODES.items() | special


def test_every_field_of_an_execution_is_on_the_page(account: Client) -> None:
    schemas = account.get("/api/v1/openapi.json").json["components"]["schemas"]
    fields = schemas["ExecutionDetailAnswer"]["properties"]
    told = set(first_words(section(API, "Executions")))

    assert fields.keys() - {"id", "flow_id", "started_at"} <= told


def test_the_docs_of_every_error_are_a_passage_that_exists() -> None:
    answered = [kind for kind in _all_errors(FlowRunnerError) if any(base in STATUS for base in kind.__mro__)]
    guides = {kind.__name__: guide_of_error(kind.__new__(kind)) for kind in answered}
    guides |= {str(status): guide_of_status(status) for status in (*CODES, 418, 599)}

    assert len(answered) > 15
    for name, guide in guides.items():
        assert guide is not None, name
        path, _, anchor = guide.docs.partition("#")
        assert path.startswith("/docs/"), f"{name}: {guide.docs}"
        assert anchor in anchors(ROOT / path[1:]), f"{name}: {guide.docs}"
        assert guide.hint, name


def test_each_kind_of_error_has_advice_of_its_own() -> None:
    like_others = {
        kind.__name__
        for kind in _all_errors(FlowRunnerError)
        if kind.__module__.startswith("flowrunner.domain.") and kind not in STATUS
        for base in STATUS
        if issubclass(kind, base) and guide_of_error(kind.__new__(kind)) is guide_of_error(base.__new__(base))
    }

    # Raised by a command on the server's machine only.
    assert like_others == {"UnknownEmail"}


def _all_errors(kind: type[Exception]) -> Iterator[type[Exception]]:
    for below in kind.__subclasses__():
        yield below
        yield from _all_errors(below)


def test_the_executions_that_a_filter_of_a_job_looks_at_are_told() -> None:
    pages, rows = selections.MOST_PAGES, execution_search.MOST_EXAMINED
    examined = (pages - 1) * rows

    assert f"look at more than {examined:,} executions" in API.read_text()
