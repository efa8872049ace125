"""Write the models of the Python client from the OpenAPI document, which is read from the standard input."""

import json
import keyword
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

TARGET: Final = Path(__file__).resolve().parents[1] / "src" / "flowrunner" / "client" / "models.py"
# Names for programmers, where the name without `Answer` says something else.
RENAMED: Final = {
    "RunAnswer": "StartedExecution",
    "RerunAnswer": "StartedRerun",
    "TokenAnswer": "LoginToken",
    "TicketAnswer": "Ticket",
    "TokenInList": "Token",
    "SecretInList": "ListedSecret",
    "ConfigValueInList": "ListedConfigValue",
    "ListedEntryAnswer": "ListedEntry",
    "ApprovalInList": "Approval",
    "HookAnswer": "StartedByHook",
    "InvitationInList": "Invitation",
    "AcceptedAnswer": "AcceptedInvitation",
    "ErrorEntry": "Fault",
}
# The pages of lists have a class that is written by hand.
PAGING: Final = frozenset({"limit", "next_cursor"})
# JSON Schemas are left as they are.
LEFT_OUT: Final = frozenset({"FlowSchema"})
HEAD: Final = '''"""Answers of the API as typed objects. Written by `make client` from the OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from flowrunner.client.model import Model

'''


def main() -> None:
    document = json.load(sys.stdin)
    TARGET.write_text(models_of(document))


def models_of(document: Mapping[str, Any]) -> str:
    """Return the module."""
    schemas = document["components"]["schemas"]
    text = HEAD + "\n\n".join(_class(name, schemas[name]) for name in sorted(_answered(document), key=python_name))
    ruff = Path(sys.executable).with_name("ruff")
    command = [ruff, "format", "--stdin-filename", TARGET, "-"]
    return subprocess.run(command, input=text, stdout=subprocess.PIPE, check=True, text=True).stdout  # noqa: S603


def python_name(schema: str) -> str:
    return RENAMED.get(schema) or schema.removesuffix("Answer")


def is_page(name: str, schema: Mapping[str, Any]) -> bool:
    """Return True for a page of a list."""
    return name.endswith("List") and not PAGING.isdisjoint(schema.get("properties", {}))


def _answered(document: Mapping[str, Any]) -> set[str]:
    """Return the names of the schemas that answers have, with those that these refer to."""
    schemas = document["components"]["schemas"]
    found: set[str] = set()
    waiting = [
        name
        for path in document["paths"].values()
        for operation in path.values()
        for status, response in operation["responses"].items()
        if status.startswith("2")
        for name in _references(response)
    ]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _references(schemas[name])
    return {name for name in found - LEFT_OUT if "properties" in schemas[name] and not is_page(name, schemas[name])}


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"].rpartition("/")[2]
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)


def _class(name: str, schema: Mapping[str, Any]) -> str:
    required = schema.get("required", [])
    members = {member: part for member, part in schema["properties"].items() if member.isidentifier()}
    described = [f"{_member(member)}: {_sentence(part)}" for member, part in members.items() if part.get("description")]
    lines = [f"class {python_name(name)}(Model):"]
    if described:
        wrapped = [textwrap.fill(line, 116, initial_indent=" " * 8, subsequent_indent=" " * 12) for line in described]
        lines += [f'    """The schema `{name}` of the API.', "", "    Attributes:", *wrapped, '    """', ""]
    else:
        lines += [f'    """The schema `{name}` of the API."""', ""]
    for member, part in members.items():
        lines.append(f"    {_member(member)}: {_type(part, optional=member not in required)}")
    return "\n".join([*lines, ""])


def _member(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) else name


def _sentence(part: Mapping[str, Any]) -> str:
    return " ".join(str(part["description"]).split()).replace("\\", "\\\\")


def _type(schema: Mapping[str, Any], *, optional: bool) -> str:
    parts = _parts(schema)
    if optional and "Any" not in parts:
        parts = [*parts, "None"]
    # None is written last, and once.
    kinds = [part for part in dict.fromkeys(parts) if part != "None"]
    return " | ".join([*kinds, "None"] if "None" in parts else kinds)


def _parts(schema: Mapping[str, Any]) -> list[str]:
    if "$ref" in schema:
        return [python_name(schema["$ref"].rpartition("/")[2])]
    if "anyOf" in schema:
        parts = [part for option in schema["anyOf"] for part in _parts(option)]
        return ["Any"] if "Any" in parts else parts
    if "enum" in schema:
        return [f"Literal[{', '.join(json.dumps(value) for value in schema['enum'])}]"]
    match schema.get("type"):
        case "string":
            return ["datetime" if schema.get("format") == "date-time" else "str"]
        case "array":
            return [f"list[{_type(schema.get('items', {}), optional=False)}]"]
        case "object":
            values = schema.get("additionalProperties")
            return [f"dict[str, {_type(values, optional=False) if isinstance(values, dict) else 'Any'}]"]
        case simple:
            return [{"integer": "int", "number": "float", "boolean": "bool", "null": "None"}.get(str(simple), "Any")]


if __name__ == "__main__":
    main()
