"""Statements on rows of a workspace: each names the workspace, or is one of a few that serve all of them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from flowrunner import storage
from flowrunner.storage.tables import TABLES

SQL: Final = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\s")
TABLE: Final = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+(\w+)")
# In a condition, or among the columns of a new row.
NAMED: Final = re.compile(r"\bworkspace_id (?:= |IN \()|\bINSERT INTO \w+ \([^)]*\bworkspace_id\b")
# Events belong to the workspace of their execution. API tokens and memberships belong to their accounts, too, which
# read and delete them in all workspaces.
OF_WORKSPACES: Final = {
    table.name for table in TABLES if "workspace_id" in table.columns and "account_id" not in table.columns
} | {"events"}
# Whole tables are copied to another database; migrations change them.
NOT_SEARCHED: Final = ("copying.py", "migrations")

# Names of statements. Nothing that a caller of the API names reaches them before a service has compared its workspace.
EXCEPTIONS: Final = {
    "the engine and the dispatchers advance executions of all workspaces, with ids from the journal": {
        "ADMIT", "HAS_SLOT", "HAS_FREE_SLOT", "HOLDING_SLOT", "QUEUED_KEYS", "LAST_QUEUED", "OLDER_WITH_KEY",
        "UNRECONCILED", "UNRECONCILED_OF", "ADVANCE", "EXTEND", "ADD_EVENT", "TAKE_MESSAGE", "ACQUIRE",
        "ACQUIRE_CONCURRENTLY", "RELEASE_SLOTS",
        "HEADER", "PAGE_OF_EVENTS", "FIRST_EVENT", "UNOWNED", "UNFINISHED", "DUE", "NEXT_WAKE",
    },
    "the steps of an execution are read after the execution itself": {
        "PAGE_WITHOUT_LOGS", "PAGE_OF_SMALL", "NUMBERED", "_OF_SCOPES", "_ENDED_SCOPES",
    },
    "active slots are assigned to executions of all workspaces, with ids from the journal": {
        "NEEDS_NO_SLOT", "QUEUE", "LEAVE_QUEUE", "RELEASE", "IS_WAITING", "WORKSPACES_WAITING", "WAITING", "EXPECTED",
        "HAS_WAITING", "IDLE", "UNNOTIFIED",
    },
    "workers read messages by the execution that they have in memory, and answer them by number": {
        "UNREAD", "REJECT", "DISCARD", "ANSWER", "CANCEL",
    },
    "retention and housekeeping delete rows of all workspaces by their age": {
        "OLD", "PURGE", "PURGE_EVENTS", "PURGE_EXECUTION", "PURGE_REVISIONS", "LAST_TO_PURGE", "MOVE_ANCHOR",
        "HOLDERS", "EARLIER", "DELETE_REQUESTS", "DELETE_ENDED", "REFUSALS_GONE", "EXPIRED", "UNWANTED",
        "DELETE_TRIGGERS", "DELETE_JOBS", "WAKE",
        "RULED_FLOWS", "COUNT_BEFORE", "WITH_RESULTS",
    },
    "a background job delivers the callbacks of all workspaces": {
        "_PENDING", "_EARLIEST_IN_SQLITE", "_EARLIEST_IN_POSTGRES", "_ARE_DUE",
        "RECORD", "SUCCEEDED", "FAILED", "DISABLE", "FAIL_PENDING", "GIVEN_UP",
    },
    "background jobs start what is due by triggers of all workspaces, with ids from the store": {
        "STATE", "EARLIEST", "FIRE", "START", "FAIL", "ENDED_AT", "TRIGGER", "ENDS",
    },
    "the sender of a webhook knows the secret part of its URL, and says no workspace": {"BY_URL"},
    "triggers are changed in the transaction that has read their flow, or the trigger, by its workspace": {
        "REPLACE", "ARM", "REMOVE", "REMOVE_ALL", "PAUSE", "ROTATE", "OF_FLOWS", "FORGET_REMOVED",
    },
    "a failed start is counted for the trigger of the stored request": {"TRIGGER_FAILED"},
    "a background job reads which secrets the flows of all workspaces name": {"UNINDEXED"},
    "a move that was begun is completed, with ids from the store": {"MOVING", "INCOMPLETE"},
    "a move reads the triggers of its flow after the flow itself, by its workspace": {
        "CHAINS_OF_FLOW", "COUNT_OF_FLOW",
    },
    "a background job does the items of the jobs of all workspaces": {"RUNNING", "LOAD"},
    "the audit log is one chain of all workspaces": {"LAST", "ROWS", "FIRST_SINCE"},
    "a rotation replaces the keys of all workspaces": {"MASTER_KEY_IDS", "DATA_KEYS", "KEEP_UNTIL"},
    "metrics say how much waits in all workspaces together": {"BACKLOG"},
    "a background job settles the requests to webhooks that a server did not, of all workspaces": {"RECEIVED"},
    "an operator checks what is stored in all workspaces": {"LAST_ENTRY", "OPEN", "CURRENT", "REVISION", "EVENT_TYPES"},
}  # fmt: skip


def statements() -> Iterator[tuple[str, str, str]]:
    """Yield file, name and text of every statement of the stores; a name is that of a constant or a function."""
    for directory in storage.__path__:
        for path in sorted(Path(directory).rglob("*.py")):
            if not {path.name, *path.relative_to(directory).parts} & {*NOT_SEARCHED}:
                for node in ast.parse(path.read_text()).body:
                    for inner in ast.walk(node):
                        match inner:
                            case ast.Constant(value=str(text)) if SQL.match(text):
                                yield path.name, _name(node), text


def _name(node: ast.stmt) -> str:
    match node:
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return name
        case _:
            return f"line {node.lineno}"


def unscoped() -> list[tuple[str, str, set[str]]]:
    """Return file, name and tables of the statements that name no workspace."""
    return [
        (file, name, tables)
        for file, name, text in statements()
        if (tables := {*TABLE.findall(text)} & OF_WORKSPACES) and not NAMED.search(text)
    ]


def test_every_statement_on_rows_of_a_workspace_names_it() -> None:
    excepted = set().union(*EXCEPTIONS.values())

    assert len(list(statements())) > 130
    assert [(file, name, sorted(tables)) for file, name, tables in unscoped() if name not in excepted] == []


def test_no_exception_is_obsolete() -> None:
    assert set().union(*EXCEPTIONS.values()) - {name for _, name, _ in unscoped()} == set()


def test_nothing_that_reads_for_a_caller_is_an_exception() -> None:
    """These stores are asked with ids that callers of the API have sent."""
    for_callers = {
        "secrets.py", "flows.py", "flow_changes.py", "flow_pages.py", "executions.py", "usage.py", "tokens.py",
        "sessions.py", "accounts.py",
    }  # fmt: skip
    unbounded = (
        EXCEPTIONS["retention and housekeeping delete rows of all workspaces by their age"]
        | EXCEPTIONS["a rotation replaces the keys of all workspaces"]
        | EXCEPTIONS["a background job reads which secrets the flows of all workspaces name"]
    )

    assert [name for file, name, _ in unscoped() if file in for_callers and name not in unbounded] == []
