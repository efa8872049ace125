"""Every route of the program: what it needs, what it accepts, and what its path names."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from fastapi import FastAPI
from fastapi.routing import APIRoute

from api.shapes import SMALLEST
from support.client import PASSWORD

Route = tuple[str, str]
# What a route needs where it is not `read` for GET and `write` for every other method. Whoever adds a line
# has thought about who may call the route.
RIGHTS: Final[Mapping[Route, str]] = {
    ("POST", "/api/v1/auth/refresh"): "login",
    ("POST", "/api/v1/auth/logout"): "login",
    ("GET", "/api/v1/second-factors"): "login",
    ("POST", "/api/v1/second-factors/totp"): "login",
    ("POST", "/api/v1/second-factors/{id}/confirm"): "login",
    ("POST", "/api/v1/second-factors/passkeys/options"): "login",
    ("POST", "/api/v1/second-factors/passkeys"): "login",
    ("POST", "/api/v1/second-factors/recovery-codes"): "login",
    ("DELETE", "/api/v1/second-factors/{id}"): "login",
    ("DELETE", "/api/v1/accounts/{id}/second-factors"): "admin",
    ("DELETE", "/api/v1/accounts/{id}/identities"): "admin",
    ("GET", "/api/v1/identities"): "login",
    ("POST", "/api/v1/identities"): "login",
    ("DELETE", "/api/v1/identities/{id}"): "login",
    ("POST", "/api/v1/auth/ws-ticket"): "session",
    ("POST", "/api/v1/auth/command-logins"): "session",
    ("GET", "/api/v1/tokens"): "session",
    ("GET", "/api/v1/sessions"): "session",
    ("DELETE", "/api/v1/sessions"): "session",
    ("DELETE", "/api/v1/sessions/{id}"): "session",
    ("GET", "/api/v1/accounts/me/preferences"): "session",
    ("PUT", "/api/v1/accounts/me/preferences"): "session",
    ("POST", "/api/v1/tokens"): "tokens",
    ("DELETE", "/api/v1/tokens/{id}"): "tokens",
    ("POST", "/api/v1/flows/validate"): "read",
    ("POST", "/api/v1/flows/graph"): "read",
    ("POST", "/api/v1/flows/test"): "run",
    ("POST", "/api/v1/flows/{id}/run"): "run",
    ("POST", "/api/v1/flows/by-name/{name}/run"): "run",
    ("DELETE", "/api/v1/executions/{id}"): "run",
    ("POST", "/api/v1/executions/{id}/signals/{key}"): "run",
    ("POST", "/api/v1/executions/{id}/approvals/{node}"): "run",
    ("DELETE", "/api/v1/executions/{id}/approvals/{node}/link"): "run",
    ("POST", "/api/v1/executions/{id}/rerun"): "run",
    ("POST", "/api/v1/executions:batch"): "run",
    ("POST", "/api/v1/executions:signal"): "run",
    ("DELETE", "/api/v1/jobs/{id}"): "run",
    ("POST", "/api/v1/triggers/{id}/pause"): "run",
    ("POST", "/api/v1/triggers/{id}/resume"): "run",
    ("POST", "/api/v1/triggers/{id}/deliveries/{delivery_id}/replay"): "run",
    ("POST", "/api/v1/triggers/{id}/run"): "run",
    ("POST", "/api/v1/triggers/{id}/backfill"): "run",
    ("PUT", "/api/v1/accounts/{id}"): "account",
    ("GET", "/api/v1/accounts"): "admin",
    ("POST", "/api/v1/accounts"): "create_account",
    ("DELETE", "/api/v1/accounts/{id}"): "admin",
    ("GET", "/api/v1/audit"): "admin",
    ("GET", "/api/v1/workspaces/{id}/audit"): "members",
    ("GET", "/api/v1/workspaces/{id}/export"): "export",
    ("GET", "/api/v1/keys/rotations"): "admin",
    ("POST", "/api/v1/keys/rotations"): "admin",
    ("POST", "/api/v1/workspaces"): "create_workspace",
    ("PUT", "/api/v1/workspaces/{id}"): "members",
    ("DELETE", "/api/v1/workspaces/{id}"): "delete_workspace",
    ("PUT", "/api/v1/workspaces/{id}/retention"): "members",
    ("POST", "/api/v1/workspaces/{id}/leave"): "login",
    ("POST", "/api/v1/workspaces/{id}/members"): "members",
    ("PUT", "/api/v1/workspaces/{id}/members/{account_id}"): "members",
    ("DELETE", "/api/v1/workspaces/{id}/members/{account_id}"): "members",
    ("GET", "/api/v1/workspaces/{id}/invitations"): "members",
    ("POST", "/api/v1/workspaces/{id}/invitations"): "invite",
    ("DELETE", "/api/v1/workspaces/{id}/invitations/{invitation_id}"): "members",
    ("POST", "/api/v1/invitations/accept"): "session",
    ("POST", "/api/v1/accounts/me/email-confirmation"): "session",
    ("POST", "/api/v1/accounts/me/email-confirmation/confirm"): "session",
    ("POST", "/api/v1/accounts/{id}/password-reset"): "create_account",
    ("GET", "/api/v1/workspaces/{id}/tokens"): "members",
    ("DELETE", "/api/v1/workspaces/{id}/tokens/{token_id}"): "members",
    ("GET", "/api/v1/admin/workspaces"): "admin",
    ("GET", "/api/v1/admin/pause"): "admin",
    ("PUT", "/api/v1/admin/pause"): "admin",
    ("POST", "/api/v1/admin/workspaces/{id}/members"): "appoint",
    ("POST", "/mcp"): "mcp",
}
# What a route needs besides, which its service checks.
FURTHER_RIGHTS: Final[Mapping[str, tuple[str, ...]]] = {
    "POST /api/v1/nodes/try": ("run",),
    "DELETE /api/v1/accounts/{id}/second-factors": ("credentials",),
    "DELETE /api/v1/accounts/{id}/identities": ("credentials",),
}
SOCKETS: Final[Mapping[str, str]] = {
    "/ws/executions": "read",
    "/ws/executions/{execution_id}": "read",
}
# Where the routes of a path act: in the workspace of the object that the path names first, in the one that the header
# names (`header`), nowhere but on the caller's own account (`account`), or on the installation. Whoever adds a path has
# thought about which workspaces its routes reach.
ACTS_IN: Final[Mapping[str, str]] = {
    "/api/v1/flows": "header",
    "/api/v1/flows/validate": "header",
    "/api/v1/flows/graph": "header",
    "/api/v1/nodes/try": "header",
    "/api/v1/flows/test": "header",
    "/api/v1/flows:batch": "header",
    "/api/v1/flows/export": "header",
    "/api/v1/flows/import": "header",
    "/api/v1/flows/by-name/{name}": "header",
    "/api/v1/flows/by-name/{name}/run": "header",
    "/api/v1/flows/{id}": "flow",
    "/api/v1/flows/{id}/graph": "flow",
    "/api/v1/flows/{id}/run": "flow",
    "/api/v1/flows/{id}/retention": "flow",
    "/api/v1/flows/{id}/move": "flow",
    "/api/v1/flows/{id}/copy": "flow",
    "/api/v1/flows/{id}/revisions": "flow",
    "/api/v1/flows/{id}/revisions/{number}": "flow",
    "/api/v1/flows/{id}/revisions/{number}/diff": "flow",
    "/api/v1/flows/{id}/revisions/{number}/restore": "flow",
    "/api/v1/overview": "header",
    "/api/v1/executions/histogram": "header",
    "/api/v1/executions": "header",
    "/api/v1/executions:batch": "header",
    "/api/v1/executions:signal": "header",
    "/api/v1/config": "header",
    "/api/v1/store": "header",
    "/api/v1/store/entry": "header",
    "/api/v1/config/{name}": "header",
    "/api/v1/executions/{id}": "execution",
    "/api/v1/executions/{id}/record": "execution",
    "/api/v1/jobs": "header",
    "/api/v1/jobs/{id}": "job",
    "/api/v1/executions/{id}/rerun": "execution",
    "/api/v1/executions/{id}/logs": "execution",
    "/api/v1/executions/{id}/graph": "execution",
    "/api/v1/executions/{id}/events": "execution",
    "/api/v1/executions/{id}/steps": "execution",
    "/api/v1/executions/{id}/steps/{step_id}": "execution",
    "/api/v1/executions/{id}/steps/{step_id}/result": "execution",
    "/api/v1/executions/{id}/steps/{step_id}/params": "execution",
    "/api/v1/executions/{id}/signals/{key}": "execution",
    "/api/v1/executions/{id}/approvals/{node}": "execution",
    "/api/v1/executions/{id}/approvals/{node}/link": "execution",
    "/ws/executions": "header",
    "/ws/executions/{execution_id}": "execution",
    "/api/v1/triggers": "header",
    "/api/v1/triggers/{id}": "trigger",
    "/api/v1/triggers/{id}/pause": "trigger",
    "/api/v1/triggers/{id}/resume": "trigger",
    "/api/v1/triggers/{id}/run": "trigger",
    "/api/v1/triggers/{id}/backfill": "trigger",
    "/api/v1/triggers/{id}/next": "trigger",
    "/api/v1/triggers/{id}/rotate": "trigger",
    "/api/v1/triggers/{id}/deliveries": "trigger",
    "/api/v1/triggers/{id}/deliveries/{delivery_id}": "trigger",
    "/api/v1/triggers/{id}/deliveries/{delivery_id}/replay": "trigger",
    "/api/v1/callbacks": "header",
    "/api/v1/callbacks/{id}": "callback",
    "/api/v1/callbacks/{id}/test": "callback",
    "/api/v1/callbacks/{id}/rotate": "callback",
    "/api/v1/callbacks/{id}/deliveries": "callback",
    "/api/v1/callbacks/{id}/deliveries/{delivery_id}/redeliver": "callback",
    # It lists what waits in all workspaces that the caller reaches.
    "/api/v1/approvals": "account",
    "/api/v1/workspaces": "account",
    "/api/v1/workspaces/{id}": "workspace",
    "/api/v1/workspaces/{id}/usage": "workspace",
    "/api/v1/workspaces/{id}/retention": "workspace",
    "/api/v1/workspaces/{id}/leave": "workspace",
    "/api/v1/workspaces/{id}/members": "workspace",
    "/api/v1/workspaces/{id}/members/{account_id}": "workspace",
    "/api/v1/workspaces/{id}/invitations": "workspace",
    "/api/v1/workspaces/{id}/invitations/{invitation_id}": "workspace",
    "/api/v1/invitations/accept": "account",
    "/api/v1/accounts/me/email-confirmation": "account",
    "/api/v1/accounts/me/email-confirmation/confirm": "account",
    "/api/v1/workspaces/{id}/audit": "workspace",
    "/api/v1/workspaces/{id}/export": "workspace",
    "/api/v1/workspaces/{id}/tokens": "workspace",
    "/api/v1/workspaces/{id}/tokens/{token_id}": "workspace",
    "/api/v1/workspaces/{id}/secrets": "workspace",
    "/api/v1/workspaces/{id}/secrets/{key}": "workspace",
    "/api/v1/accounts/{account_id}/secrets": "personal workspace",
    "/api/v1/accounts/{account_id}/secrets/{key}": "personal workspace",
    "/api/v1/auth/logout": "account",
    "/api/v1/auth/ws-ticket": "account",
    "/api/v1/auth/command-logins": "account",
    "/api/v1/auth/refresh": "account",
    "/api/v1/identities": "account",
    "/api/v1/identities/{id}": "account",
    "/api/v1/second-factors": "account",
    "/api/v1/second-factors/totp": "account",
    "/api/v1/second-factors/{id}": "account",
    "/api/v1/second-factors/{id}/confirm": "account",
    "/api/v1/second-factors/passkeys": "account",
    "/api/v1/second-factors/passkeys/options": "account",
    "/api/v1/second-factors/recovery-codes": "account",
    "/api/v1/accounts/{id}/second-factors": "installation",
    "/api/v1/accounts/{id}/identities": "installation",
    "/api/v1/tokens": "account",
    "/api/v1/tokens/{id}": "account",
    "/api/v1/accounts/{id}": "account",
    "/api/v1/schemas/flow": "account",
    "/api/v1/system": "account",
    "/api/v1/sessions": "account",
    "/api/v1/sessions/{id}": "account",
    "/api/v1/accounts/me/preferences": "account",
    "/api/v1/node-types": "account",
    # Its tools act where the other routes act.
    "/mcp": "account",
    "/api/v1/accounts": "installation",
    "/api/v1/accounts/{id}/password-reset": "installation",
    "/api/v1/admin/pause": "installation",
    "/api/v1/admin/workspaces": "installation",
    "/api/v1/admin/workspaces/{id}/members": "installation",
    "/api/v1/keys/rotations": "installation",
    "/api/v1/audit": "installation",
}
# A body that each route accepts, given the ids in its path; `{me}` is the caller's id.
BODIES: Final[Mapping[Route, Any]] = {
    ("POST", "/api/v1/flows"): {"name": "N", "definition": SMALLEST},
    ("POST", "/api/v1/flows/validate"): {"definition": SMALLEST},
    ("POST", "/api/v1/flows/graph"): {"definition": SMALLEST},
    ("POST", "/api/v1/nodes/try"): {"definition": SMALLEST, "node": "only"},
    ("POST", "/api/v1/flows/test"): {"definition": SMALLEST},
    ("PUT", "/api/v1/flows/{id}"): {"name": "N"},
    ("POST", "/api/v1/flows:batch"): {"flows": [{"name": "N-{n}", "definition": SMALLEST}]},
    ("PUT", "/api/v1/flows/by-name/{name}"): {"definition": SMALLEST},
    ("POST", "/api/v1/flows/{id}/run"): {"input": {}},
    ("POST", "/api/v1/flows/by-name/{name}/run"): {"input": {}},
    # To where it is.
    ("POST", "/api/v1/flows/{id}/move"): {"workspace": "{me}"},
    ("POST", "/api/v1/flows/{id}/copy"): {"workspace": "{me}"},
    ("POST", "/api/v1/executions/{id}/signals/{key}"): {"payload": 1},
    ("POST", "/api/v1/executions/{id}/approvals/{node}"): {"approved": True},
    ("POST", "/api/v1/executions/{id}/rerun"): {},
    ("POST", "/api/v1/executions:batch"): {"action": "cancel", "filter": {"flow_id": "none"}},
    ("POST", "/api/v1/executions:signal"): {"key": "k", "filter": {"label": ["matrix:1"]}},
    # A period without due times, whose job has ended.
    ("POST", "/api/v1/triggers/{id}/backfill"): {"from": "2026-02-01", "to": "2026-02-02"},
    ("POST", "/api/v1/accounts"): {"name": "N", "email": "new-{n}@example.com", "password": PASSWORD},
    ("PUT", "/api/v1/accounts/{id}"): {"name": "N"},
    ("POST", "/api/v1/accounts/{account_id}/secrets"): {"key": "KEY", "value": "a long value"},
    ("PUT", "/api/v1/accounts/me/preferences"): {"preferences": {"theme": "dark"}},
    ("POST", "/api/v1/identities"): {"provider": "none"},
    ("POST", "/api/v1/auth/command-logins"): {"challenge": "ab" * 32},
    ("POST", "/api/v1/second-factors/totp"): {},
    ("POST", "/api/v1/second-factors/{id}/confirm"): {"code": "000000"},
    ("POST", "/api/v1/second-factors/passkeys"): {"challenge": "x", "passkey": {}},
    ("POST", "/api/v1/tokens"): {"name": "N", "scopes": ["read"]},
    ("POST", "/api/v1/keys/rotations"): {"kinds": ["data"]},
    ("POST", "/api/v1/workspaces"): {"name": "N", "slug": "slug-{n}"},
    ("PUT", "/api/v1/workspaces/{id}"): {"name": "N"},
    ("POST", "/api/v1/workspaces/{id}/members"): {"account": "member@example.com", "role": "viewer"},
    ("PUT", "/api/v1/workspaces/{id}/members/{account_id}"): {"role": "editor"},
    ("POST", "/api/v1/workspaces/{id}/invitations"): {"email": "new-{n}@example.com", "role": "viewer"},
    ("POST", "/api/v1/workspaces/{id}/secrets"): {"key": "KEY", "value": "a long value"},
    ("PUT", "/api/v1/config/{name}"): {"value": 1},
    ("PUT", "/api/v1/store/entry"): {"value": 1},
    ("POST", "/api/v1/invitations/accept"): {"token": "unknown"},
    ("POST", "/api/v1/accounts/me/email-confirmation/confirm"): {"token": "unknown"},
    ("PUT", "/api/v1/admin/pause"): {"paused": False},
    ("PUT", "/api/v1/flows/{id}/retention"): {"max_count": 100},
    ("PUT", "/api/v1/workspaces/{id}/retention"): {"max_age_seconds": 86400},
    ("POST", "/mcp"): {"jsonrpc": "2.0", "id": 1, "method": "ping"},
    ("POST", "/api/v1/callbacks"): {"url": "https://example.com/", "events": ["execution.failed"]},
    ("PUT", "/api/v1/callbacks/{id}"): {"name": "N"},
    ("POST", "/api/v1/admin/workspaces/{id}/members"): {"account": "member@example.com", "role": "viewer"},
}
# A body of another type than JSON.
ARCHIVES: Final[Mapping[Route, bytes]] = {
    # An archive without files.
    ("POST", "/api/v1/flows/import"): b"PK\x05\x06" + bytes(18),
}
# Parts of a path that only count within the thing named before them.
WITHIN: Final[Mapping[str, str]] = {"key": "KEY", "node": "nap", "number": "1", "revision": "1", "step_id": "3"}


def routes_of(app: FastAPI) -> Iterator[tuple[Route, APIRoute]]:
    for route in app.routes:
        if isinstance(route, APIRoute):
            for method in sorted(route.methods or ()):
                yield (method, route.path_format), route


def wanted_right(route: Route) -> str:
    return RIGHTS.get(route, "read" if route[0] == "GET" else "write")


@dataclass(frozen=True, slots=True)
class Places:
    """The ids of a path: by the name of its part, what each names."""

    kinds: Mapping[str, str]

    @classmethod
    def of(cls, path: str) -> "Places":
        kinds = {}
        parts = path.split("/")
        for before, part in pairwise(parts):
            if part.startswith("{"):
                name = part.strip("{}")
                kinds[name] = name if name in WITHIN else before
        return cls(kinds)

    @property
    def ids(self) -> list[str]:
        return [name for name, kind in self.kinds.items() if name not in WITHIN]


def filled(path: str, values: Mapping[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: values[found[1]], path)
