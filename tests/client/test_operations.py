"""The typed methods and models of the client, compared with the OpenAPI document."""

import inspect
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from types import UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import parse_qs, unquote

import pytest

from docs.pages import ROOT
from flowrunner.api.http.openapi import openapi_document
from flowrunner.api.server import ROUTERS
from flowrunner.client import models
from flowrunner.client.calls import Listing, call
from flowrunner.client.core import rerun_request, run_request
from flowrunner.client.groups import Groups
from flowrunner.client.model import Model, wire_name
from flowrunner.client.models import Message
from flowrunner.client.operations import ListOperation, Operation
from flowrunner.client.requests import request

DOCUMENT: Final[Any] = openapi_document([route for router in ROUTERS for route in router.routes])
SCHEMAS: Final[Any] = DOCUMENT["components"]["schemas"]
# The operations without a typed method, each with the reason.
WITHOUT_METHOD: Final = {
    "receiveHook": "for other servers, which have no token",
    "verifyHook": "for other servers, which have no token",
    "healthz": "for probes",
    "readyz": "for probes",
    "metrics": "for Prometheus",
    "ticket": "for browsers, whose WebSockets have no headers; `Client.events` needs none",
    "startPasskey": "for browsers, which make passkeys",
    "addPasskey": "for browsers, which make passkeys",
    "allowCommandLogin": "for browsers, which hand the code to the command line",
    "finishCommandLogin": "for the command line, which has the verifier",
    "linkIdentity": "for browsers, which go on at the provider",
    "exportWorkspace": "an archive of any size: `Client.download` writes it to a file",
}
# Parameters that the client itself sends.
SENT_BY_THE_CLIENT: Final = {"flowrunner-workspace", "if-none-match"}
PAGING: Final = {"limit", "offset", "cursor", "count", "after"}
PARAMETERS_OF_HEADERS: Final = {
    "Idempotency-Key": "idempotency_key",
    "Prefer": "wait",
    "If-Match": "if_match",
    "If-None-Match": "if_none_match",
}
# Parameters whose names are none of Python's.
RENAMED: Final = {"input.*": "inputs"}
# Fields of bodies that a method leaves out, each with the reason.
LEFT_OUT: Final = {
    ("login", "cookie"): "for browsers",
    ("finishLogin", "cookie"): "for browsers",
    ("finishLogin", "passkey"): "for browsers",
    ("changeExecutions", "dry_run"): "a method of its own",
    ("backfillTrigger", "dry_run"): "a method of its own",
}


class _Groups(Groups[Any]):
    """The groups without a client."""


def methods() -> "Iterator[tuple[str, Any]]":
    """Yield each typed method with its name."""
    for name in vars(Groups):
        if not name.startswith("_"):
            group = type(getattr(_Groups(), name))
            for method, value in vars(group).items():
                if isinstance(value, Operation | ListOperation):
                    yield f"{name}.{method}", value


METHODS: Final = dict(methods())
OPERATIONS: Final = {
    operation["operationId"]: (method, path, operation)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}


def test_each_operation_has_a_method_or_a_reason_to_have_none() -> None:
    covered = {value.id for value in METHODS.values()}

    assert covered | set(WITHOUT_METHOD) == set(OPERATIONS)
    assert covered & set(WITHOUT_METHOD) == set()


def schema_of(schema: Any) -> Any:
    """Return the object schema that a schema refers to."""
    for part in (schema, *schema.get("anyOf", ())):
        if "$ref" in part:
            return SCHEMAS[part["$ref"].rpartition("/")[2]]
    return schema


def expected_parameters(id: str) -> set[str]:
    _, path, operation = OPERATIONS[id]
    names = set(re.findall(r"{(\w+)}", path))
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "query":
            names.add(parameter["name"])
        elif parameter["in"] == "header" and parameter["name"] in PARAMETERS_OF_HEADERS:
            names.add(PARAMETERS_OF_HEADERS[parameter["name"]])
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None:
        names |= set(schema_of(body["schema"]).get("properties", {}))
    if operation["operationId"] not in ("putFlowByName", "putConfigValue", "putStoreEntry"):
        # Answers to GET are not kept, so there is nothing to compare them with.
        names.discard("if_none_match")
    return {RENAMED.get(name, name) for name in names if (id, name) not in LEFT_OUT}


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_the_parameters_of_its_operation(name: str) -> None:
    method = METHODS[name]
    parameters = {wire_name(parameter) for parameter in inspect.signature(method.make).parameters} - {"self"}
    expected = expected_parameters(method.id)
    if isinstance(method, ListOperation):
        expected -= PAGING
    if name in ("executions.plan_many", "triggers.plan_backfill"):
        # A plan changes nothing, and may be asked for again.
        expected.discard("idempotency_key")
    if name == "flows.import_archive":
        expected.add("archive")
    if name.startswith("accounts.") and "preferences" in name:
        expected.discard("id")

    assert parameters == expected


def sample(annotation: Any) -> Any:
    """Return a value of a type, as a parameter of a method."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return sample(arguments[0])
    if origin is Literal:
        return arguments[0]
    if annotation in (str, Any):
        return "a/b"
    if annotation in (int, bool, bytes):
        return {int: 7, bool: True, bytes: b"x"}[annotation]
    return {} if "Mapping" in str(annotation) else ["x"]


def made_by(method: Any) -> Any:
    """Return the call or list that a method makes of samples."""
    hints = get_type_hints(method.make)
    names = [name for name in inspect.signature(method.make).parameters if name != "self"]
    return method.make(None, **{name: sample(hints[name]) for name in names})


@pytest.mark.parametrize("name", METHODS)
def test_a_method_makes_the_request_of_its_operation(name: str) -> None:
    method = METHODS[name]
    verb, path, operation = OPERATIONS[method.id]
    made = made_by(method)
    if isinstance(made, Listing):
        made = made.page({"limit": 5})
    request = made.request
    target, _, query = request.target.partition("?")
    # The key of a signal has slashes, every other part of a path has none.
    pattern = re.sub(r"\\{\w+\\}", "[^/]+" if method.id != "sendSignal" else ".+", re.escape(path))

    assert request.method == verb.upper()
    assert re.fullmatch(pattern, target), target
    known = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "query"}
    assert {part.partition("=")[0] for part in query.split("&") if part} <= known
    known = {parameter["name"] for parameter in operation.get("parameters", ()) if parameter["in"] == "header"}
    assert set(request.headers) - {"Content-Type", "Accept"} <= known
    content = operation.get("requestBody", {}).get("content", {})
    assert (request.body is None) == (content == {})
    if request.headers.get("Content-Type") == "application/json":
        fields = set(schema_of(content["application/json"]["schema"])["properties"])
        assert set(json.loads(request.body)) <= fields


@pytest.mark.parametrize(
    ("name", "is_plan"),
    [
        ("executions.plan_many", True), ("executions.change_many", False),
        ("triggers.plan_backfill", True), ("triggers.backfill", False),
    ],
)  # fmt: skip
def test_a_plan_changes_nothing(name: str, is_plan: bool) -> None:
    assert made_by(METHODS[name]).request.target.endswith("?dry_run=true") is is_plan


def test_null_is_sent_where_it_says_something_and_else_nothing_is() -> None:
    update, rerun = METHODS["callbacks.update"].make, METHODS["executions.rerun"].make

    def body(made: Any) -> Any:
        return json.loads(made.request.body)

    assert body(update(None, "cb", flow_id=None, enabled=True)) == {"flow_id": None, "enabled": True}
    assert body(update(None, "cb", tag=None)) == {"tag": None}
    assert body(update(None, "cb", template=None)) == {"template": None}
    assert body(update(None, "cb", name="Nightly")) == {"name": "Nightly"}
    assert body(rerun(None, "exec-1", from_="push.1", node_input=None)) == {"from": "push.1", "node_input": None}
    assert body(rerun(None, "exec-1", from_="push.1")) == {"from": "push.1"}


def test_a_method_sends_each_value_of_its_body_also_one_that_is_false_or_empty() -> None:
    wrong = []
    for name, method in METHODS.items():
        _, path, operation = OPERATIONS[method.id]
        content = operation.get("requestBody", {}).get("content", {})
        fields = schema_of(content["application/json"]["schema"])["properties"] if "application/json" in content else {}
        hints = get_type_hints(method.make)
        names = [one for one in inspect.signature(method.make).parameters if one != "self"]
        given = {
            one: type(sample(hints[one]))() for one in names if wire_name(one) in fields and f"{{{one}}}" not in path
        }
        made = method.make(None, **{one: given.get(one, sample(hints[one])) for one in names})
        sent = json.loads(made.request.body) if given else {}
        wrong += [(name, one) for one, value in given.items() if sent.get(wire_name(one)) != value]

    assert wrong == []


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_creates_is_repeated_under_a_key(name: str) -> None:
    made, operation = made_by(METHODS[name]), OPERATIONS[METHODS[name].id][2]
    takes_key = any(parameter["name"] == "Idempotency-Key" for parameter in operation.get("parameters", ()))
    if isinstance(made, Listing) or name in ("executions.plan_many", "triggers.plan_backfill"):
        return

    assert ("Idempotency-Key" in made.request.headers) == takes_key


def answered(id: str) -> set[str]:
    """Return the names of the schemas with which an operation answers."""
    names = set()
    for status, response in OPERATIONS[id][2]["responses"].items():
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        if status.startswith("2"):
            names |= {part["$ref"].rpartition("/")[2] for part in (schema, *schema.get("anyOf", ())) if "$ref" in part}
    return names


def schema_name(model: type[Model]) -> str:
    found = re.search(r"The schema `(\w+)`", model.__doc__ or "")
    assert found is not None
    return found[1]


@pytest.mark.parametrize("name", METHODS)
def test_a_method_returns_what_its_operation_answers(name: str) -> None:
    method = METHODS[name]
    (answer,) = get_args(get_type_hints(method.make)["return"])
    if isinstance(answer, type) and issubclass(answer, Model):
        schema = schema_name(answer)
        if isinstance(method, ListOperation):
            (page,) = answered(method.id)
            (entries,) = [part for part in SCHEMAS[page]["properties"].values() if part.get("type") == "array"]
            assert entries["items"]["$ref"].rpartition("/")[2] == schema
        else:
            assert schema in answered(method.id)
    else:
        assert name in ("flows.export", "flows.saved_picture", "executions.step_result", "installation.flow_schema")


MODELS: Final = [value for value in vars(models).values() if isinstance(value, type) and issubclass(value, Model)]


@pytest.mark.parametrize("model", [model for model in MODELS if model is not Model], ids=lambda model: model.__name__)
def test_a_model_has_the_fields_of_its_schema(model: type[Model]) -> None:
    schema = SCHEMAS[schema_name(model)]
    hints = get_type_hints(model)

    assert {wire_name(name) for name in hints} == {name for name in schema["properties"] if name.isidentifier()}
    for name, part in schema["properties"].items():
        if part.get("format") == "date-time":
            assert datetime in (hints[name], *get_args(hints[name]))


def test_the_models_are_those_of_the_present_document() -> None:
    program = ROOT / "client" / "generate.py"
    code = "import json, sys; sys.path.insert(0, sys.argv[1]); import generate; "
    code += "sys.stdout.write(generate.models_of(json.load(sys.stdin)))"
    done = subprocess.run(
        [sys.executable, "-c", code, program.parent],
        input=json.dumps(DOCUMENT),
        capture_output=True,
        text=True,
        check=True,
    )

    written = (ROOT / "src" / "flowrunner" / "client" / "models.py").read_text()
    assert done.stdout == written, "the API has changed: make client"


def test_the_synchronous_client_is_made_of_the_present_asynchronous_one() -> None:
    program = runpy.run_path(str(ROOT / "client" / "generate_sync.py"))

    for source in program["SOURCES"]:
        written = program["target_of"](source).read_text()
        assert written == program["synchronous"](source), "the asynchronous client has changed: make client"


def texts(value: Any) -> list[str]:
    """Return a value as a path, a query or a header has it."""
    if isinstance(value, list):
        return [text for one in value for text in texts(one)]
    return [str(value).lower() if isinstance(value, bool) else str(value)]


def sent_by(method: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a method sends by the name on the wire: the values of the body, and the texts of all else."""
    made = method.make(None, **given)
    request: Any = (made.page({}) if isinstance(made, Listing) else made).request
    target, _, query = request.target.partition("?")
    path = re.fullmatch(re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(OPERATIONS[method.id][1])), target)
    assert path is not None
    sent: dict[str, Any] = {name: [unquote(text)] for name, text in path.groupdict().items()}
    sent |= parse_qs(query)
    for header, name in PARAMETERS_OF_HEADERS.items():
        if header in request.headers:
            sent[name] = [request.headers[header].removeprefix("wait=")]
    match request.headers.get("Content-Type"):
        case "application/json":
            sent |= json.loads(request.body)
        case "application/zip":
            sent["archive"] = request.body
    return sent


@pytest.mark.parametrize("name", METHODS)
def test_a_method_sends_each_parameter_in_its_place(name: str) -> None:
    method = METHODS[name]
    hints = get_type_hints(method.make)
    given = {
        one: f"The {one}" if str in (hints[one], *get_args(hints[one])) else sample(hints[one])
        for one in inspect.signature(method.make).parameters
        if one not in ("self", "inputs")
    }

    sent = sent_by(method, given)

    assert {one for one, value in given.items() if sent.get(wire_name(one)) not in (value, texts(value))} == set()


def test_inputs_are_looked_for_by_their_names() -> None:
    sent = sent_by(METHODS["executions.list"], {"inputs": {"Customer": "ACME", "urgent": "true"}})

    assert (sent["input.Customer"], sent["input.urgent"]) == (["ACME"], ["true"])


def required_of(method: Any) -> dict[str, Any]:
    """Return samples of the parameters that a method must be given."""
    hints = get_type_hints(method.make)
    parameters = inspect.signature(method.make).parameters
    return {
        one: sample(hints[one]) for one, given in parameters.items() if one != "self" and given.default is given.empty
    }


@pytest.mark.parametrize("name", METHODS)
def test_a_method_sends_nothing_that_it_is_not_given(name: str) -> None:
    sent = sent_by(METHODS[name], required_of(METHODS[name]))

    assert [one for one, value in sent.items() if value in (None, ["None"])] == []


def test_an_empty_key_is_refused_by_every_method() -> None:
    """A key that is lost on the way starts the same thing again."""
    methods = [m for m in METHODS.values() if "idempotency_key" in inspect.signature(m.make).parameters]

    for method in methods:
        with pytest.raises(ValueError, match="key is empty"):
            sent_by(method, {**required_of(method), "idempotency_key": ""})

    with pytest.raises(ValueError, match="key is empty"):
        run_request("double", {}, None, "")
    with pytest.raises(ValueError, match="key is empty"):
        rerun_request("exec-1", {}, "")
    assert methods != []


def test_a_method_without_a_key_makes_another_one_each_time() -> None:
    names = [name for name in METHODS if "idempotency_key" in inspect.signature(METHODS[name].make).parameters]
    again = []
    for name in names:
        method = METHODS[name]
        keys = {tuple(sent_by(method, required_of(method)).get("idempotency_key", ())) for _ in range(2)}
        again += [] if len(keys) == 2 and () not in keys else [name]

    assert names != []
    assert again == []


def test_a_method_that_waits_gives_the_server_that_time() -> None:
    waits = {name: method for name, method in METHODS.items() if "wait" in inspect.signature(method.make).parameters}

    assert {"flows.run", "flows.run_by_name", "executions.rerun", "executions.events_page"} <= waits.keys()
    assert {name: made_by(method).seconds for name, method in waits.items()} == dict.fromkeys(waits, 7)


def test_only_none_is_left_out_of_a_request() -> None:
    values: dict[str, Any] = {"zero": 0, "no": False, "empty": "", "none": None, "of": [0, "", False], "nothing": []}
    bodies: tuple[Any, ...] = (0, False, "", [], {})

    sent = [request("POST", "/a", json=value) for value in bodies]
    empty = [request("POST", "/a", content=content, content_type="text/plain") for content in ("", b"")]
    without = request("POST", "/a", headers={"A": "", "B": None})
    waiting = [call(Message, "POST", "/a", wait=seconds).request.headers.get("Prefer") for seconds in (0, None)]

    assert request("GET", "/a", query=values).target.partition("?")[2] == "zero=0&no=false&empty=&of=0&of=&of=false"
    assert [made.body for made in sent] == [b"0", b"false", b'""', b"[]", b"{}"]
    assert {made.headers["Content-Type"] for made in sent} == {"application/json"}
    assert [(made.body, made.headers["Content-Type"]) for made in empty] == [(b"", "text/plain")] * 2
    assert (without.body, without.headers) == (None, {"A": ""})
    assert waiting == ["wait=0", None]
