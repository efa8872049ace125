"""What the fuzzer is told by `SCHEMATHESIS_HOOKS`: who it is, and which ids and documents there really are.

Random ids and random YAML are turned away at the door. So every second call takes an id that the
server has given, and every second definition is a real one, whole or damaged.
"""

import io
import json
import os
import random
import re
import secrets
import zipfile
from typing import Any, Final

import requests
import schemathesis
from schemathesis.transport.serialization import serialize_binary

URL: Final = os.environ["FUZZ_URL"]
ROLE: Final = os.environ["FUZZ_ROLE"]
KEEPER_EMAIL: Final = os.environ["FUZZ_ADMIN_EMAIL"]
KEEPER_PASSWORD: Final = os.environ["FUZZ_ADMIN_PASSWORD"]
PASSWORD: Final = "five-blue-otters-swim"
MOST_IDS: Final = 200

DEFINITIONS: Final = (
    "nodes: {a: {type: return, params: {value: '${flow.input}'}}}",
    "nodes:\n  a: {type: transform, params: {value: {x: '${flow.input.x}', y: [1, 2.5, null]}}, next: b}\n"
    "  b: {type: log, params: {message: 'got ${input.x}', level: warn}}\n",
    "metadata: {name: N, version: 1.0.0, tags: [a, b]}\nvars: {v: 1}\nnodes:\n"
    "  a: {type: delay, params: {duration: 1h}, timeout: 2h, next: {default: b, error.timeout: b}}\n"
    "  b: {type: fail, params: {message: no, error: mine}}\n",
    "nodes: {a: {type: http.request, params: {url: 'http://127.0.0.1:1/${flow.input.x}'}, retry: {max: 1}}}",
    "inputs: {x: {type: integer, default: 1}}\nlimits: {concurrency: {max: 1, key: '${input.x}'}, timeout: 1h}\n"
    "nodes:\n  a: {type: wait, params: {key: k, timeout: 1h}, next: b}\n"
    "  b: {type: approval, params: {prompt: 'x ${input}', form: {type: object}}, timeout: 1h}\n",
    "nodes:\n  a:\n    type: foreach\n"
    "    params: {items: '${[1, 2, flow.input.x]}', on_error: collect, concurrency: 2}\n"
    "    nodes: {b: {type: transform, params: {script: 'return [item, index, input.a.b]'}}}\n",
    "on_failure: b\non_finish: b\noutputs: {x: '${nodes.a.result}'}\nnodes:\n"
    "  a: {type: flow, params: {flow: '${flow.id}', input: {x: 1}}}\n  b: {type: log, params: {message: '${error}'}}\n",
    "vars: {n: 0}\nnodes:\n  a:\n    type: parallel\n    params: {join: any}\n    branches:\n"
    "      l: {nodes: {a: {type: set, params: {n: '${vars.n + 1}'}}}}\n"
    "      r: {nodes: {a: {type: while, params: {when: 'vars.n < 3'}, nodes:"
    " {b: {type: delay, params: {duration: 1s}}}}}}\n"
    "    next: b\n  b: {type: switch, params: {cases: [{when: 'input.l', action: go}]}, next: {go: a}}\n",
    "nodes: {a: {type: log, params: {message: x}, hooks: {prep: 'context.message = input.x; return context'},"
    " batch: {strategy: parallel}, if: 'input.x > 1'}}",
)
ARCHIVE: Final = "application/zip"
NAMES: Final = ("F.yaml", "A%20flow.yaml", "%2E%2E%2Fup.yaml", "../up.yaml", "%FF.yaml", "other.txt")
PAUSE: Final = "/api/v1/admin/pause"
DOTS: Final = re.compile(r"(?:\.|%2E){1,2}", re.IGNORECASE)
# What stands in paths beside the ids that the server gives.
PARTS: Final = {"number": ["1", "2", "3"], "node": ["a", "b"], "key": ["k"]}

_draw = random.Random(int(os.environ["FUZZ_SEED"]))  # repeatable, not secret
_ids: dict[str, list[str]] = {name: list(parts) for name, parts in PARTS.items()}
_keeper: dict[str, str] = {}


def _keeper_header() -> dict[str, str]:
    if not _keeper:
        body = {"username": KEEPER_EMAIL, "password": KEEPER_PASSWORD}
        reply = requests.post(f"{URL}/api/v1/auth/login", json=body, timeout=30).json()
        _keeper.update(Authorization=f"Bearer {reply['token']}", id=reply["account_id"])
    return {"Authorization": _keeper["Authorization"]}


@schemathesis.auth(refresh_interval=3600)
class Somebody:
    """A new account of the role; another one when its token has ended, which the fuzzer may well bring about."""

    def get(self, case: Any, context: Any) -> str:
        email = f"{secrets.token_hex(8)}@example.com"
        body = {"name": "Fuzz", "email": email, "password": PASSWORD, "role": ROLE}
        made = requests.post(f"{URL}/api/v1/accounts", json=body, headers=_keeper_header(), timeout=30)
        made.raise_for_status()
        login = {"username": email, "password": PASSWORD}
        reply = requests.post(f"{URL}/api/v1/auth/login", json=login, timeout=30)
        reply.raise_for_status()
        _keep_ids({"account_id": reply.json()["account_id"]})
        return str(reply.json()["token"])

    def set(self, case: Any, data: str, context: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {data}"}


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    for name, value in list((case.path_parameters or {}).items()):
        known = _ids.get(_kind(case.operation.path, name), ())
        if known and _draw.random() < 0.5:
            case.path_parameters[name] = _draw.choice(known)
        if DOTS.fullmatch(str(case.path_parameters[name])):
            # Clients resolve them, so that the request goes to another address.
            case.path_parameters[name] = "dots"
        if value == _keeper.get("id"):
            # Without its keeper nobody could go on.
            case.path_parameters[name] = "account-of-nobody"
    if isinstance(case.body, dict) and "definition" in case.body and _draw.random() < 0.5:
        case.body = {**case.body, "definition": _document()}
    if case.media_type == ARCHIVE and _draw.random() < 0.5:
        case.body = _archive()


def _kind(path: str, name: str) -> str:
    """What an id in a path is the id of: "flows" for `/api/v1/flows/{id}`."""
    parts = path.strip("/").split("/")
    return name if name != "id" else parts[parts.index("{id}") - 1]


def _document() -> str:
    text = _draw.choice(DEFINITIONS)
    for _ in range(_draw.choice((0, 0, 1, 1, 2, 5))):
        start, end = sorted((_draw.randrange(len(text) + 1), _draw.randrange(len(text) + 1)))
        end = min(end, start + 12)
        piece = _draw.choice(
            ("", text[start:end] * 2, "${", "}", "\n", ": ", "[", "{", "'", "9" * 30, "\u2028", "&a ", "*a")
        )
        text = text[:start] + piece + text[end:]
    return text


def _archive() -> bytes:
    """A zip of flow documents, whole or with one damaged byte."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in _draw.sample(NAMES, _draw.randint(0, 3)):
            archive.writestr(name, _document())
    data = bytearray(written.getvalue())
    if _draw.random() < 0.3:
        data[_draw.randrange(len(data))] = _draw.randrange(256)
    return bytes(data)


@schemathesis.serializer(ARCHIVE)
def _as_bytes(context: Any, value: Any) -> Any:
    """Send a body of an archive as it was drawn; Schemathesis has no way of its own to send a zip."""
    return serialize_binary(value)


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    if case.operation.path == PAUSE and case.method == "PUT" and response.status_code == 200:
        # Otherwise each later start would be answered with 503, as it should be.
        requests.put(f"{URL}{PAUSE}", json={"paused": False}, headers=_keeper_header(), timeout=30).raise_for_status()
    if 200 <= response.status_code < 300 and response.headers.get("content-type") == ["application/json"]:
        try:
            _keep_ids(json.loads(response.content), case.operation.path)
        except ValueError:
            return


def _keep_ids(answer: Any, path: str = "") -> None:
    if not isinstance(answer, dict):
        return
    if isinstance(answer.get("id"), str):
        _keep(path.strip("/").split("/")[2] if path.count("/") > 2 else "", answer["id"])
    for field, kind in (("execution_id", "executions"), ("account_id", "accounts"), ("key", "key")):
        if isinstance(answer.get(field), str):
            _keep(kind, answer[field])
            _keep(field, answer[field])


def _keep(kind: str, id: str) -> None:
    known = _ids.setdefault(kind, [])
    # A dry run answers an empty id, which would lead to another address.
    if id and id != _keeper.get("id"):
        known.append(id)
        del known[:-MOST_IDS]
