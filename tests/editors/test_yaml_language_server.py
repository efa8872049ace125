"""What people see who write a flow in an editor: the real YAML language server, with the real schema."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from domain.test_flow_schema import EVERYTHING, SCHEMA
from editors.language_server import Editor, open_editor

pytestmark = pytest.mark.asyncio(loop_scope="module")

REQUEST: Final = """\
nodes:
  a:
    type: http.request
    params:
      url: https://example.com
"""


@pytest.fixture(scope="module")
def schema_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("editor") / "flow.schema.json"
    path.write_text(json.dumps(SCHEMA))
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def editor(schema_file: Path) -> AsyncIterator[Editor]:
    async with open_editor(schema_file) as editor:
        yield editor


async def test_nothing_is_underlined_in_a_flow_that_uses_everything(editor: Editor) -> None:
    faults = await editor.faults(EVERYTHING)

    # What is of an older form is marked, with what to write instead.
    assert {fault.partition(": ")[2] for fault in faults} == {"write max", "write delay", "write follow_redirects"}


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (f"{REQUEST}      metod: GET\n", ["6: Property metod is not allowed."]),
        (f"{REQUEST}      auth: {{tokn: x}}\n", ["6: Property tokn is not allowed."]),
        (f"{REQUEST}      follow_redirects: often\n", ['6: Incorrect type. Expected "boolean".']),
        (f"{REQUEST}    timeout: 5 seconds\n", ["6: write a duration as 500ms, 10s, 5m, 2h, 1d or PT10S"]),
        (f"{REQUEST}    retry: {{maximum: 3}}\n", ["6: Property maximum is not allowed."]),
        (f"{REQUEST}    nodes: {{}}\n", ["6: Property nodes is not allowed."]),
        (f"{REQUEST}outptus: {{}}\n", ["6: Property outptus is not allowed."]),
        ("nodes:\n  a:\n    type: log\n    params: {}\n", ['4: Missing property "message".']),
        ("nodes:\n  a:\n    type: log\n", ['2: Missing property "params".']),
    ],
)
async def test_what_is_wrong_is_underlined(editor: Editor, text: str, faults: list[str]) -> None:
    assert await editor.faults(text) == faults


async def test_a_type_that_is_not_there_is_underlined_with_those_that_are(editor: Editor) -> None:
    (fault,) = await editor.faults("nodes:\n  a:\n    type: htpp.request\n")

    assert fault.startswith("3: Value is not accepted.")
    assert '"http.request"' in fault


async def test_any_parameter_may_be_an_expression(editor: Editor) -> None:
    values = "".join(f"      {name}: ${{vars.x}}\n" for name in ("method", "auth", "follow_redirects", "expect_status"))

    assert await editor.faults(REQUEST + values) == []


async def test_node_types_are_offered_with_what_they_do(editor: Editor) -> None:
    offered = await editor.completions("nodes:\n  a:\n    type: |\n")

    types = SCHEMA["definitions"]["node"]["properties"]["type"]
    assert offered == dict(zip(types["enum"], types["enumDescriptions"], strict=True))


@pytest.mark.parametrize(
    ("text", "some"),
    [
        ("|\n", {"metadata", "inputs", "limits", "nodes", "on_failure"}),
        ("nodes:\n  a:\n    type: log\n    |\n", {"params", "timeout", "retry", "next", "if"}),
        ("nodes:\n  a:\n    type: http.request\n    params:\n      |\n", {"url", "method", "headers", "auth"}),
        (f"{REQUEST}      |\n", {"method", "headers", "auth", "expect_status"}),
        (f"{REQUEST}      auth:\n        |\n", {"username", "password", "token"}),
        (f"{REQUEST}      response: |\n", {"json", "text", "base64"}),
        (f"{REQUEST}      follow_redirects: |\n", {"true", "false"}),
        (f"{REQUEST}    next:\n      |\n", {"default", "error", "error.http", "error.timeout"}),
        (f"{REQUEST}    retry:\n      |\n", {"max", "delay", "errors"}),
        ("nodes:\n  a:\n    type: approval\n    next:\n      |\n", {"approved", "rejected", "timeout"}),
        ("nodes:\n  a:\n    type: switch\n    params:\n      cases:\n        - |\n", {"when", "action"}),
        (
            "nodes:\n  a:\n    type: foreach\n    nodes:\n      b:\n        type: wait\n        params:\n          |\n",
            {"key"},
        ),
        (
            "nodes:\n a:\n  type: parallel\n  branches:\n   x:\n    nodes:\n     b:\n      type: |\n",
            {"log", "http.request"},
        ),
        ("inputs:\n  limit:\n    type: |\n", {"string", "integer", "boolean"}),
        ("limits:\n  concurrency:\n    max: 1\n    on_limit: |\n", {"queue", "reject", "replace"}),
    ],
)
async def test_what_may_stand_there_is_offered(editor: Editor, text: str, some: set[str]) -> None:
    assert some <= (await editor.completions(text)).keys()


async def test_parameters_of_other_types_and_older_forms_are_not_offered(editor: Editor) -> None:
    assert "message" not in await editor.completions(f"{REQUEST}      |\n")
    assert not {"max_retries", "wait"} & (await editor.completions(f"{REQUEST}    retry:\n      |\n")).keys()


async def test_what_stands_there_is_explained(editor: Editor) -> None:
    assert "may be repeated" in await editor.hover("nodes:\n  a:\n    type: return\n    idem|potent: true\n")
    assert "The node type." in await editor.hover("nodes:\n  a:\n    ty|pe: log\n")
