"""Hints for keys and node types of other systems, which this language writes in another form."""

from collections.abc import Mapping
from typing import Final

from flowrunner.domain.suggestions import squashed

_IN_METADATA: Final = "put it under 'metadata'"
_IN_LIMITS: Final = "put it under 'limits'"
_STARTED: Final = "write it under the key 'triggers' of the flow, as in nightly: {type: schedule, cron: …}"
_BEFORE: Final = "the node before it leads here: write 'next' there"
_ON_ERROR: Final = "write next: {error: <node>}"
_LOOP: Final = "write a node of type foreach, with this one under its own 'nodes'"
_NOTIFY: Final = "write type: webhook, with the URL of the service that notifies"
_MAIL: Final = "write type: email.send, with the server that sends it"
_MAILBOX: Final = "write type: email.receive, with the server of the mailbox"
_POSTGRESQL: Final = "write type: sql, with the URL of the database"
_NO_DATABASE: Final = (
    "databases are PostgreSQL (type: sql): for others call a service in front, with type: http.request"
)
_STORE: Final = "write type: store, params: {operation: get, key: …}, for values that the workspace keeps"
_NO_COMMANDS: Final = (
    "flows run no commands: put them behind a small HTTP server, as docs/connecting.md shows, for type: http.request"
)
_NO_PROGRAMS: Final = (
    "type: transform runs JavaScript: put other programs behind a small HTTP server, as docs/connecting.md shows"
)
_ASKED: Final = "ask its API, with type: http.request"
_MODEL: Final = "write type: llm, with its provider, or the base_url of a server of models"
_AGENT: Final = "write type: agent, with the tools that the model may call"
_SCRIPT: Final = "write type: transform, params: {script: …}"

OF_FLOWS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("name", "description", "version", "tags", "title"), _IN_METADATA),
    **dict.fromkeys(("maxsteps", "concurrency"), _IN_LIMITS),
    "maxactiveruns": "write limits: {concurrency: {max: 1}}",
    "handleron": "write on_failure or on_finish, with the name of a node",
    **dict.fromkeys(("on", "trigger", "schedule", "schedules", "cron", "webhook", "webhooks"), _STARTED),
    "timeout": "put it under 'limits', or under 'defaults' for every node",
    "retry": "put it under 'defaults'",
    "retries": "put it under 'defaults': retry: {max: 3}",
    "secrets": "a workspace keeps its secrets; expressions read them as ${secrets.NAME}",
    "config": "a workspace keeps its configuration values; expressions read them as ${config.NAME}",
    **dict.fromkeys(("edges", "connections", "links"), "each node says where it leads: next: <node>"),
    **dict.fromkeys(("type", "params", "next"), "give the node a name, and put it under 'nodes'"),
}
OF_NODES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("needs", "dependson", "depends", "dependencies", "requires", "after", "runafter", "previous", "inputsfrom"),
        _BEFORE,
    ),
    **dict.fromkeys(
        ("onerror", "onfailure", "onfail", "catch", "error", "errors", "rescue", "continueonerror", "fallback"),
        _ON_ERROR,
    ),
    **dict.fromkeys(("continueon", "allowfailure"), _ON_ERROR),
    **dict.fromkeys(("name", "id"), "a node's name is its key under 'nodes'; 'description' is for people"),
    **dict.fromkeys(("foreach", "each", "loop", "withitems", "items"), _LOOP),
    **dict.fromkeys(("run", "script", "code"), _SCRIPT),
    **dict.fromkeys(("command", "commands", "cmd"), _NO_COMMANDS),
}
# Node types that do not exist, by the word as `squashed`.
OF_TYPES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("notification", "notify", "slack", "discord", "teams", "sms"), _NOTIFY),
    **dict.fromkeys(("email", "mail", "sendemail", "emailsend", "smtp"), _MAIL),
    **dict.fromkeys(("imap", "mailbox", "inbox", "reademail", "emailread", "emailtrigger", "pop3"), _MAILBOX),
    **dict.fromkeys(("cron", "schedule", "scheduler", "trigger", "webhooktrigger", "manualtrigger"), _STARTED),
    **dict.fromkeys(("split", "splitter"), "write type: foreach for the elements of a list, or parallel for branches"),
    **dict.fromkeys(("start", "begin", "entry"), "leave it out: the flow starts with the node that no edge leads to"),
    **dict.fromkeys(("postgresql", "pg", "database", "db", "query"), _POSTGRESQL),
    **dict.fromkeys(("mysql", "mariadb", "mssql", "oracle", "sqlite", "mongodb"), _NO_DATABASE),
    **dict.fromkeys(("kv", "keyvalue", "kvstore", "redis", "cache", "state", "counter", "datastore"), _STORE),
    **dict.fromkeys(("shell", "bash", "sh", "command", "commands", "exec", "ssh", "docker"), _NO_COMMANDS),
    **dict.fromkeys(("python", "nodejs", "ruby", "golang", "powershell"), _NO_PROGRAMS),
    **dict.fromkeys(("openai", "anthropic", "ai", "gpt", "claude", "chat", "ollama"), _MODEL),
    **dict.fromkeys(("aiagent", "assistant", "langchain", "toolsagent"), _AGENT),
    **dict.fromkeys(("mcpclient", "mcptool"), "write type: mcp, with the URL of the server"),
    **dict.fromkeys(("file", "readfile", "writefile", "s3", "ftp"), _ASKED),
    **dict.fromkeys(("merge", "join"), "branches join in their node of type parallel, which returns their results"),
}
# Hints for keys that are meant as an edge.
_LEADING: Final = frozenset((_BEFORE, _ON_ERROR))


def is_edge(key: str) -> bool:
    """Return whether an unknown key of a node is meant as an edge."""
    return OF_NODES.get(squashed(key)) in _LEADING
