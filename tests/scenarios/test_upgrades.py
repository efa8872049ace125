"""A newer version on the database of an earlier one: what was under way goes on."""

import json
import subprocess
from pathlib import Path
from typing import Final

import pytest

from support.preloaded import run_forked
from support.server import Server, clean_environment

# A newer version: a node type is gone, and rules are stricter.
STRICTER: Final = (
    "-c",
    """
import flowrunner.nodes as nodes
import flowrunner.language.reading as reading
import flowrunner.language.document as document
del nodes._BUILT_IN["transform"]
reading.MAX_TAGS = 1
from flowrunner.cli.main import main
main()
""",
)
# One that does not know an event that the database has.
FORGETFUL: Final = (
    "-c",
    "from flowrunner.ports.event_codec import _TYPES; "
    "[_TYPES.pop(stored) for stored, type in list(_TYPES.items()) if type == 'node.waiting']; "
    "from flowrunner.cli.main import main; main()",
)
TAGGED: Final = """
metadata: {name: Tagged, tags: [a, b]}
nodes:
  ask: {type: approval, params: {prompt: Well?}, next: {approved: plain, rejected: gone}}
  plain: {type: return, params: {value: plain}}
  gone: {type: transform, params: {value: 1}, next: {error: caught}}
  caught: {type: return, params: {value: "${error.message}"}}
"""


def run(program: tuple[str, ...], directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_forked([*program, *arguments], cwd=directory, env=clean_environment())


def test_executions_of_flows_that_a_newer_version_refuses_go_on_with_it(tmp_path: Path) -> None:
    older, newer = Server(tmp_path), Server(tmp_path, program=STRICTER)
    account = older.start().admin()
    flow = account.new_flow(TAGGED)
    approved, rejected = account.run(flow), account.run(flow)
    for id in (approved, rejected):
        account.waiting_at(id, "ask")
    older.stop()
    try:
        account = newer.start().admin()
        assert account.post("/api/v1/flows", {"name": "x", "definition": TAGGED}).status == 422
        account.post(f"/api/v1/executions/{approved}/approvals/ask", {"approved": True})
        account.post(f"/api/v1/executions/{rejected}/approvals/ask", {"approved": False})
        ended = [account.ended(id) for id in (approved, rejected)]
    finally:
        newer.stop()

    assert [execution["status"] for execution in ended] == ["completed", "completed"]
    assert ended[0]["result"] == "plain"
    assert ended[1]["result"] == "This version of FlowRunner cannot read the node: unknown node type 'transform'"


def test_a_newer_version_says_before_an_upgrade_what_it_refuses(tmp_path: Path) -> None:
    server = Server(tmp_path)
    account = server.start().admin()
    flow = account.new_flow(TAGGED)
    # An earlier revision is still followed by an execution, and one that nothing follows is of no interest.
    account.waiting_at(account.run(flow), "ask")
    for changed in (TAGGED.replace("value: 1", "value: 2"), "nodes: {a: {type: log, params: {message: x}}}"):
        assert account.put(f"/api/v1/flows/{flow}", {"definition": changed}).status == 200
    # The flow of a workspace that is no account's own.
    team = account.post("/api/v1/workspaces", {"name": "Team"}).json["id"]
    shared = account.request(
        "POST",
        "/api/v1/flows",
        json.dumps({"name": "Shared", "definition": "nodes: {a: {type: log, params: {message: x}}}"}).encode(),
        headers={"Flowrunner-Workspace": team, "Content-Type": "application/json"},
    ).json["id"]
    stored = ("validate", "--stored", "--data-dir", str(server.data_dir))
    try:
        # Beside the server that runs.
        same, stricter = run(("-m", "flowrunner"), tmp_path, *stored), run(STRICTER, tmp_path, *stored, "-o", "json")
        forgetful = run(FORGETFUL, tmp_path, *stored)
    finally:
        server.stop()

    assert (same.returncode, same.stdout) == (0, ""), same
    assert "3 stored flows and revisions: this version would save all of them" in same.stderr
    assert stricter.returncode == 6, stricter
    told = {file["file"]: [fault["code"] for fault in file["faults"]] for file in json.loads(stricter.stdout)["files"]}
    assert [codes for name, codes in told.items() if f"{flow}, revision 1, " in name] == [["too_long", "node.type"]]
    assert [codes for name, codes in told.items() if f"{flow}, revision 3, " in name] == [[]]
    assert [codes for name, codes in told.items() if f"{shared}, revision 1, {team})" in name] == [[]]
    assert len(told) == 3
    assert "this version would not save 1 of them, with 1 running execution" in stricter.stderr
    assert forgetful.returncode == 6
    assert "1 execution has events of the type 'node.waiting', which this version does not know" in forgetful.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name files, or give --stored"),
        (["--stored", "a.yaml"], "Name files, or give --stored"),
        (["--stored", "--secrets", ".env"], "--secrets is for files"),
    ],
)
def test_files_or_what_is_stored_are_checked_and_not_both(tmp_path: Path, arguments: list[str], message: str) -> None:
    ran = run(("-m", "flowrunner"), tmp_path, "validate", *arguments)

    assert ran.returncode == 2
    assert message in ran.stderr


def test_where_nothing_is_stored_there_is_nothing_to_check(tmp_path: Path) -> None:
    ran = run(("-m", "flowrunner"), tmp_path, "validate", "--stored", "--data-dir", str(tmp_path / "none"))

    assert ran.returncode == 1
    assert "There is no database yet" in ran.stderr
    assert not (tmp_path / "none").exists()
