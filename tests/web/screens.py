"""The screens of the interface by name, with the addresses of the sample."""

from typing import Final

SCREENS: Final = {
    "overview": "",
    "flows": "/flows",
    "new-flow": "/flows/new",
    "flow": "/flows/{flow}",
    "revisions": "/flows/{flow}/revisions",
    "settings": "/flows/{flow}/settings",
    "executions": "/executions",
    "execution": "/executions/{failed}",
    "timeline": "/executions/{failed}?tab=timeline",
    "logs": "/executions/{failed}?tab=logs",
    "data": "/executions/{failed}?tab=data",
    "waiting": "/executions/{asked}",
    "approvals": "/approvals",
    "triggers": "/triggers",
    "schedule": "/triggers?trigger={schedule}",
    "webhook": "/triggers?trigger={webhook}",
    "callbacks": "/callbacks",
    "callback": "/callbacks?callback={callback}",
    "secrets": "/secrets",
    "node-types": "/nodes",
    "workspace": "/workspace",
    "account": "/account",
    "security": "/account?tab=security",
    "tokens": "/account?tab=tokens",
    "sessions": "/account?tab=sessions",
    "accounts": "/admin",
    "audit": "/admin?tab=audit",
    "system": "/admin?tab=system",
}
