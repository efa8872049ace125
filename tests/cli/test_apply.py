"""Deployment of directories by `apply`, `diff` and `export`."""

import contextlib
import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import unicodedata
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import click
import pytest

from cli.command import on_a_terminal
from cli.servers import User
from client.scripted import answer, scripted
from flowrunner.cli import deployment
from flowrunner.cli.documents import read_documents
from flowrunner.cli.flow_files import FlowFile, file_of, named_in, read_flow_files
from support.client import Client
from support.preloaded import run_forked
from support.server import Server, clean_environment

PATH_MAX = 4096
NAMES = [
    "a", "reports/daily", "a/b/c", "with space", "Größe", "100%", "a%2Fb", "..", "../x", "a/../b", "/etc/passwd",
    "a//b", "a/", ".hidden", "a/.git/b", "x.yaml", "x.yaml/y", "node_modules/x", "-f", "a\\b", "CON:", "a\tb", "😀",
]  # fmt: skip

# `flowrunner` with four requests for 200 flows, of which it sends two.
KILLED_AT_THE_THIRD_REQUEST = """
import os, signal
from flowrunner.cli import deployment
from flowrunner.cli.main import main

send, sent = deployment._send, []

def counted(client, files, delete, *, dry_run):
    if not dry_run:
        sent.append(files)
        if len(sent) == 3:
            os.kill(os.getpid(), signal.SIGKILL)
    return send(client, files, delete, dry_run=dry_run)

deployment._MOST_FLOWS, deployment._send = 50, counted
main()
"""

# `flowrunner` that sends two flows with each request.
WITH_SMALL_REQUESTS = """
from flowrunner.cli import deployment
from flowrunner.cli.main import main

deployment._MOST_FLOWS = 2
main()
"""


# `flowrunner` after whose list of flows another deployment deletes them.
PRUNED_BY_ANOTHER = """
from flowrunner.cli import deployment
from flowrunner.cli.main import main

deploy = deployment._deploy

def deploy_meanwhile(client, *given, **options):
    for flow in client.entries("/flows"):
        client.flows.delete(flow["id"])
    return deploy(client, *given, **options)

deployment._deploy = deploy_meanwhile
main()
"""


@pytest.fixture
def user(account: Client, tmp_path: Path) -> User:
    """Somebody with a workspace of their own, for one test."""
    return User(account, tmp_path)


def document(value: Any = 1, **metadata: str) -> str:
    said = "".join(f"  {key}: {text}\n" for key, text in metadata.items())
    return (f"metadata:\n{said}" if said else "") + f"nodes:\n  a: {{type: return, params: {{value: {value}}}}}\n"


def write(home: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = home / "flows" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def stored(client: Client) -> dict[str, str]:
    """The documents of the workspace by name."""
    flows = client.get("/api/v1/flows", limit=1000).json["flows"]
    return {flow["name"]: client.get(f"/api/v1/flows/{flow['id']}").json["definition"] for flow in flows}


def test_a_directory_is_deployed_by_name_and_once(user: User) -> None:
    write(user.home, {"a.yaml": document(1, name="Orders"), "reports/daily.yml": document(2), "notes.yaml": "x: 1\n"})

    first = user("apply", "-f", "flows")
    assert [line.split()[:2] for line in first.stdout.splitlines()[1:]] == [
        ["Orders", "created"],
        ["reports/daily", "created"],
    ]
    assert first.stderr == "2 flows: 2 created (1 file without 'nodes' left out)\n"
    assert stored(user.client) == {"Orders": document(1, name="Orders"), "reports/daily": document(2)}

    second = user("apply", "-f", "flows")
    assert (second.stdout, second.stderr) == ("", "2 flows: 2 unchanged (1 file without 'nodes' left out)\n")
    assert {flow["revision"] for flow in user.client.get("/api/v1/flows").json["flows"]} == {1}


def test_the_directory_needs_no_option(user: User) -> None:
    write(user.home, {"a.yaml": document(1)})
    write(user.home, {"../more/b.yaml": document(1)})

    assert user("diff", "flows").stdout.startswith("# a: created\n")
    assert user("diff", "flows", "-o", "table").stdout == user("diff", "flows").stdout
    assert user("diff", "flows", "--fields", "name,action").stdout == "NAME  ACTION\na     created\n"
    assert user("apply", "flows", "-f", "more").stderr == "2 flows: 2 created\n"
    for command in ("apply", "diff"):
        told = f"Name the directory of the flows, or a file: flowrunner {command} DIR"
        assert told in user(command, code=2).stderr


def test_links_out_of_the_directory_are_refused_and_those_inside_followed(user: User) -> None:
    write(user.home, {"a.yaml": document(1), "../other/secret.yaml": document("'of somebody else'", name="c")})
    (user.home / "flows" / "b.yaml").symlink_to("a.yaml")
    (user.home / "flows" / "directory").symlink_to("../other")
    assert user("apply", "flows").stderr == "2 flows: 2 created\n"

    for target in ("../other/secret.yaml", user.home / "other" / "secret.yaml"):
        link = user.home / "flows" / "c.yaml"
        link.symlink_to(target)
        refused = user("apply", "flows", code=2).stderr
        assert "flows/c.yaml is a symbolic link to" in refused
        assert "outside of flows" in refused
        link.unlink()

    assert sorted(stored(user.client)) == ["a", "b"]


def test_what_cannot_be_read_is_an_error_and_its_flow_is_not_pruned(user: User) -> None:
    write(user.home, {"a.yaml": document(1), "b.yaml": document(2)})
    user("apply", "flows")
    link = user.home / "flows" / "b.yaml"
    link.unlink()

    link.symlink_to("nowhere.yaml")
    refused = user("apply", "flows", "--prune", "--yes", code=2).stderr
    assert "flows/b.yaml cannot be read: No such file or directory (a symbolic link to nowhere.yaml)" in refused
    link.unlink()

    with deeper_than_a_path(user.home / "flows") as directory:
        refused = user("apply", "flows", "--prune", "--yes", code=2).stderr
        assert f"flows/{directory}" in refused
        assert "cannot be read: File name too long" in refused

    assert sorted(stored(user.client)) == ["a", "b"]


def test_a_flow_that_can_be_listed_and_not_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"a.yaml": document(1)})

    with (
        deeper_than_a_path(tmp_path / "flows", file=f"{'f' * 200}.yaml"),
        pytest.raises(click.UsageError, match=r"f\.yaml cannot be read: File name too long"),
    ):
        read_documents(["flows"])


@contextlib.contextmanager
def deeper_than_a_path(directory: Path, *, file: str | None = None) -> Iterator[str]:
    """Make a directory that nobody can list by its path, not even root; yield the name of the first level.

    Args:
        file: Make a directory that can be listed, with a file of this name that nobody can open by its path.
    """
    name = "d" * 200
    parent = os.open(directory, os.O_DIRECTORY)
    for _ in range(PATH_MAX // len(name) + (file is None)):
        os.mkdir(name, dir_fd=parent)
        child = os.open(name, os.O_DIRECTORY, dir_fd=parent)
        os.close(parent)
        parent = child
    if file is not None:
        os.close(os.open(file, os.O_CREAT, dir_fd=parent))
    os.close(parent)
    yield name
    shutil.rmtree(directory / name)


def test_what_is_named_itself_may_be_a_link(user: User) -> None:
    write(user.home, {"a.yaml": document(1)})
    (user.home / "current").symlink_to("flows")
    (user.home / "b.yaml").symlink_to("flows/a.yaml")

    assert user("apply", "current", "b.yaml").stderr == "2 flows: 2 created\n"
    (user.home / "links").mkdir()
    (user.home / "links" / "b.yaml").symlink_to("../flows/a.yaml")
    for place in ("links/b.yaml", "./links/b.yaml", "links//b.yaml", user.home / "links" / "b.yaml"):
        assert user("apply", place).stderr == "1 flow: 1 unchanged\n"


def test_programs_get_every_flow_with_what_happened_to_it(user: User) -> None:
    write(user.home, {"a.yaml": document(1), "b.yaml": document(1)})
    user("apply", "-f", "flows/a.yaml")
    write(user.home, {"a.yaml": document(2)})

    report = user.json("apply", "-f", "flows")
    assert {key: report[key] for key in ("dry_run", "created", "changed", "unchanged", "pruned")} == {
        "dry_run": False, "created": 1, "changed": 1, "unchanged": 0, "pruned": 0,
    }  # fmt: skip
    assert [(flow["name"], flow["action"], flow["revision"], flow["file"]) for flow in report["flows"]] == [
        ("a", "changed", 2, "flows/a.yaml"),
        ("b", "created", 1, "flows/b.yaml"),
    ]
    assert user("apply", "-f", "flows", "-o", "name").stdout == "a\nb\n"
    assert user("apply", "-f", "flows", "--query", "unchanged").stdout == "2\n"


def test_faults_are_shown_at_their_place_in_the_file_and_nothing_is_changed(user: User) -> None:
    user.client.new_flow(document(1), name="old")
    write(user.home, {"good.yaml": document(1), "bad/one.yaml": "nodes:\n  a: {type: webhok}\n"})

    done = user("apply", "-f", "flows", "--prune", "--yes", code=6)

    assert "flows/bad/one.yaml:2:13: error node.type: nodes.a.type: unknown node type 'webhok'" in done.stderr
    assert "did you mean 'webhook'?" in done.stderr
    write(user.home, {"bad/one.yaml": document(1).replace("nodes:", 'metadata: {name: "a\\tb"}\nnodes:', 1)})
    done = user("apply", "-f", "flows", code=6)
    assert "flows/bad/one.yaml:1:1: error invalid: name: has the invisible character U+0009" in done.stderr
    assert list(stored(user.client)) == ["old"]


def test_a_dry_run_and_a_diff_change_nothing(user: User) -> None:
    write(user.home, {"a.yaml": document(1), "b.yaml": document(1)})
    user("apply", "-f", "flows/a.yaml")
    user("diff", "-f", "flows/a.yaml", "--exit-code")
    write(user.home, {"a.yaml": document(2)})

    tried = user("apply", "-f", "flows", "--dry-run")
    assert tried.stderr == "2 flows: 1 created, 1 changed (dry run: nothing was changed)\n"
    shown = user("diff", "-f", "flows", "--exit-code", code=1).stdout
    assert shown.startswith("# a: changed\n--- revision 1\n+++ revision 2\n")
    assert "-  a: {type: return, params: {value: 1}}\n+  a: {type: return, params: {value: 2}}\n" in shown
    assert "# b: created\n" in shown
    user("diff", "-f", "flows/a.yaml", "--exit-code", code=1)
    assert stored(user.client) == {"a": document(1)}
    assert user.json("diff", "-f", "flows")["flows"][0]["plan"]["action"] == "update"


def test_pruning_deletes_what_has_no_file_and_asks_before(user: User) -> None:
    write(user.home, {"a.yaml": document(1)})
    for name in ("old", "older"):
        user.client.new_flow(document(1), name=name)

    refused = user("apply", "-f", "flows", "--prune", code=2)
    assert "Delete 2 flows without a file: 'old', 'older'?" in refused.stderr
    # Nothing was saved either.
    assert sorted(stored(user.client)) == ["old", "older"]
    assert "# old: pruned" in user("diff", "-f", "flows", "--prune").stdout
    assert user.json("apply", "-f", "flows", "--prune", "--dry-run")["pruned"] == 2
    assert sorted(stored(user.client)) == ["old", "older"]

    done = user("apply", "-f", "flows", "--prune", "--yes")
    assert done.stderr == "3 flows: 1 created, 2 pruned\n"
    assert list(stored(user.client)) == ["a"]


def test_a_renamed_flow_takes_the_place_of_the_one_that_is_pruned(user: User) -> None:
    tool = "metadata: {name: %s, mcp: true}\nnodes: {a: {type: return, params: {value: 1}}}\n"
    write(user.home, {"a.yaml": tool % "Order sync"})
    user("apply", "flows")
    # Two flows cannot be one tool.
    write(user.home, {"a.yaml": tool % "order-sync"})
    user("apply", "flows", code=6)

    shown = user("diff", "flows", "--prune").stdout
    done = user("apply", "flows", "--prune", "--yes")

    assert ("# order-sync: created\n" in shown, "# Order sync: pruned\n" in shown) == (True, True)
    assert done.stderr == "2 flows: 1 created, 1 pruned\n"
    assert list(stored(user.client)) == ["order-sync"]


def test_more_flows_are_pruned_than_one_request_deletes(user: User) -> None:
    write(user.home, {f"{name}.yaml": document(1) for name in "abc"})
    for number in range(7):
        user.client.new_flow(document(1), name=f"old {number}")

    done = run_forked(
        ["-c", WITH_SMALL_REQUESTS, "apply", "flows", "--prune", "--yes"],
        cwd=user.home, env=clean_environment(HOME=str(user.home), **user.environment),
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "10 flows: 3 created, 7 pruned\n")
    assert sorted(stored(user.client)) == ["a", "b", "c"]


def test_pruning_needs_a_directory_with_flows(user: User) -> None:
    write(user.home, {"a.yaml": document(1), "empty/notes.txt": ""})
    user("apply", "-f", "flows")

    assert (
        "--prune deletes what a directory does not have"
        in user("apply", "-f", "flows/a.yaml", "--prune", "--yes", code=2).stderr
    )
    assert "There is no flow in" in user("apply", "-f", "flows/empty", "--prune", "--yes", code=2).stderr
    assert list(stored(user.client)) == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "metadata: {name: Orders}\nnode:\n  a: {type: return, params: {value: 1}}\n",
        "metadata:\n  name: Orders\n  nodes:\n    a: {type: return, params: {value: 1}}\n",
    ],
)
def test_a_flow_whose_file_has_lost_its_nodes_is_not_pruned(user: User, text: str) -> None:
    write(user.home, {"a.yaml": document(1), "orders.yaml": document(1, name="Orders"), "b.yaml": document(1)})
    user("apply", "flows")
    before = stored(user.client)
    write(user.home, {"a.yaml": document(2), "orders.yaml": text})

    for command in (("diff",), ("apply", "--dry-run"), ("apply", "--yes")):
        refused = user(*command, "flows", "--prune", code=6)
        assert "flows/orders.yaml has no 'nodes', and pruning would delete its flow 'Orders'" in refused.stderr
    assert stored(user.client) == before

    write(user.home, {"b.yaml": "# Not used any more.\n"})
    assert "flows/b.yaml has no 'nodes'" in user("diff", "flows", "--prune", code=6).stderr
    (user.home / "flows" / "orders.yaml").unlink()
    (user.home / "flows" / "b.yaml").unlink()
    assert user("apply", "flows", "--prune", "--yes").stderr == "3 flows: 1 changed, 2 pruned\n"


def test_a_flow_that_another_deployment_has_pruned_counts_as_pruned(user: User) -> None:
    write(user.home, {"a.yaml": document(1)})
    user.client.new_flow(document(1), name="old")

    done = run_forked(
        ["-c", PRUNED_BY_ANOTHER, "apply", "flows", "--prune", "--yes"],
        cwd=user.home, env=clean_environment(HOME=str(user.home), **user.environment),
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, "2 flows: 1 created, 1 pruned\n")
    assert list(stored(user.client)) == ["a"]


def test_secrets_that_are_missing_are_named(user: User) -> None:
    user.client.new_secret("THERE", "a-value-of-some-length")
    write(user.home, {"a.yaml": document("'${secrets.GONE + secrets.THERE}'"), "b.yaml": document("'${secrets.GONE}'")})

    assert (
        "flowrunner: warning: there is no secret 'GONE', which 'a', 'b' read\n" in user("apply", "-f", "flows").stderr
    )
    assert [flow["missing_secrets"] for flow in user.json("apply", "-f", "flows")["flows"]] == [["GONE"], ["GONE"]]


def test_one_document_reads_the_values_of_staging_and_of_production(user: User) -> None:
    document = "nodes:\n  a: {type: return, params: {value: 'To ${config.RECIPIENT}, from ${config.LIMIT} on'}}\n"
    write(user.home, {"remind.yaml": f"metadata: {{name: remind}}\n{document}"})
    given = {"staging": ("tests@example.com", 1), "production": ("accounting@example.com", 500)}
    places = {place: user.client.post("/api/v1/workspaces", {"name": place}).json["id"] for place in given}
    for place, (recipient, limit) in given.items():
        (user.home / f"{place}.yaml").write_text(f"RECIPIENT: {recipient}\nLIMIT: {limit}\n")
        user("value", "import", f"{place}.yaml", "--workspace", places[place])

    deployed = [user("apply", "-f", "flows", "--workspace", place) for place in places.values()]
    before = [user("run", "remind", "--wait", "--workspace", place).stdout for place in places.values()]
    user("value", "set", "LIMIT", "7", "--workspace", places["staging"])
    after = [user("run", "remind", "--wait", "--workspace", place).stdout for place in places.values()]

    assert [done.stderr for done in deployed] == ["1 flow: 1 created\n"] * 2
    assert before == ['"To tests@example.com, from 1 on"\n', '"To accounting@example.com, from 500 on"\n']
    assert after == ['"To tests@example.com, from 7 on"\n', before[1]]


def test_flows_that_are_missing_are_named(user: User) -> None:
    calls = "nodes:\n  a: {type: flow, params: {flow: gone}, next: b}\n  b: {type: flow, params: {flow: there}}\n"
    write(user.home, {"a.yaml": calls, "there.yaml": document(1)})

    for options in ((), ("--dry-run",)):
        told = user("apply", *options, "-f", "flows").stderr
        assert "flowrunner: warning: there is no flow 'gone', which 'a' names\n" in told
        assert "'there'" not in told
    assert [flow["missing_flows"] for flow in user.json("apply", "-f", "flows")["flows"]] == [["gone"], []]


def test_a_flow_of_another_request_of_the_same_deployment_is_not_missing(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flowrunner.cli.deployment._MOST_FLOWS", 1)
    write(user.home, {"a.yaml": "nodes:\n  a: {type: flow, params: {flow: later}}\n", "later.yaml": document(1)})

    assert "there is no flow" not in user("apply", "-f", "flows").stderr


def test_one_name_in_two_files_is_rejected(user: User) -> None:
    write(user.home, {"a.yaml": document(1), "b.yaml": document(1, name="a")})

    assert "Several files have the flow 'a': flows/a.yaml, flows/b.yaml" in user("apply", "-f", "flows", code=2).stderr
    assert stored(user.client) == {}


def test_who_may_not_write_changes_nothing(user: User) -> None:
    write(user.home, {"a.yaml": document(1)})
    token = user.client.post("/api/v1/tokens", {"name": "r", "scopes": ["read"]}).json["token"]

    user("apply", "-f", "flows", code=4, environment={"FLOWRUNNER_TOKEN": token})
    user("apply", "-f", "flows", code=4, environment={"FLOWRUNNER_TOKEN": "none"})
    user("apply", "-f", "flows", code=7, environment={"FLOWRUNNER_URL": "http://127.0.0.1:1"})
    assert stored(user.client) == {}


def test_two_hundred_flows_are_deployed_and_then_left_alone(user: User) -> None:
    write(user.home, {f"{number}.yaml": document(number) for number in range(200)})

    assert user("apply", "-f", "flows").stderr == "200 flows: 200 created\n"
    assert user("apply", "-f", "flows").stderr == "200 flows: 200 unchanged\n"


def test_a_deployment_that_was_killed_between_requests_is_completed_by_the_next(user: User) -> None:
    write(user.home, {f"{number}.yaml": document(number) for number in range(200)})

    killed = run_forked(
        ["-c", KILLED_AT_THE_THIRD_REQUEST, "apply", "flows"],
        cwd=user.home, env=clean_environment(HOME=str(user.home), **user.environment),
    )  # fmt: skip

    assert killed.returncode == -signal.SIGKILL
    assert len(stored(user.client)) == 100
    assert user("apply", "flows").stderr == "200 flows: 100 created, 100 unchanged\n"
    assert user("apply", "flows").stderr == "200 flows: 200 unchanged\n"


@pytest.mark.parametrize("faulty", [0, 2, 4])
def test_a_fault_in_any_of_several_requests_leaves_all_flows_as_they_were(user: User, faulty: int) -> None:
    write(user.home, {f"{number}.yaml": document(number) for number in range(5)})
    write(user.home, {f"{faulty}.yaml": "nodes:\n  a: {type: webhok}\n"})

    done = run_forked(
        ["-c", WITH_SMALL_REQUESTS, "apply", "flows"],
        cwd=user.home, env=clean_environment(HOME=str(user.home), **user.environment),
    )  # fmt: skip

    assert done.returncode == 6
    assert f"flows/{faulty}.yaml:2:13: error node.type" in done.stderr
    assert stored(user.client) == {}


def chained(to: str) -> str:
    return f"triggers: {{t: {{type: execution, flow: {to}}}}}\n{document(1)}"


def test_a_loop_of_chains_is_found_before_anything_is_changed_and_its_file_named(user: User) -> None:
    write(user.home, {"a.yaml": chained("b"), "b.yaml": chained("a"), "c.yaml": document(1), "d.yaml": document(1)})

    for command in (("diff",), ("apply", "--dry-run"), ("apply",)):
        refused = user(*command, "flows", code=6).stderr
        assert re.match(r"flows/[ab]\.yaml\S* error trigger\.loop: triggers\.t\.flow: the chain is a loop", refused), (
            refused
        )
        assert "Nothing was changed: correct these faults first" in refused
    assert stored(user.client) == {}

    # Two requests: the flow of the second closes the loop.
    write(user.home, {"a.yaml": chained("d"), "b.yaml": document(1), "d.yaml": document(1)})
    user("apply", "flows")
    before = stored(user.client)
    write(user.home, {"b.yaml": document(2), "d.yaml": chained("a")})
    done = run_forked(
        ["-c", WITH_SMALL_REQUESTS, "apply", "flows"],
        cwd=user.home, env=clean_environment(HOME=str(user.home), **user.environment),
    )  # fmt: skip
    assert done.returncode == 6
    assert stored(user.client) == before


def test_a_fault_of_a_value_of_the_request_names_the_file(user: User) -> None:
    write(user.home, {"a.yaml": document(1), "b.yaml": document(1, name="n" * 300)})

    refused = user("apply", "flows", code=6).stderr

    assert refused.startswith("flows/b.yaml")
    assert "must have at most 200 characters" in refused


@pytest.mark.parametrize("seed", range(20))
def test_each_request_has_as_many_flows_as_fit(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(seed)
    monkeypatch.setattr(deployment, "_MOST_FLOWS", 5)
    monkeypatch.setattr(deployment, "_MOST_BYTES", 1000)
    texts = ["é" * draw.randint(0, draw.choice((100, 450))) for _ in range(draw.randint(1, 60))]
    files = [FlowFile(file=f"{n}.yaml", name=str(n), definition=text) for n, text in enumerate(texts)]

    def size(some: Sequence[FlowFile], separators: tuple[str, str]) -> int:
        body = [{"name": file.name, "definition": file.definition} for file in some]
        return len(json.dumps(body, ensure_ascii=False, separators=separators).encode())

    portions = list(deployment._portions(files))

    assert [file for portion in portions for file in portion] == files
    for portion in portions:
        assert len(portion) == 1 or (len(portion) <= 5 and size(portion, (",", ":")) <= 1000)
    for portion, (first, *_) in itertools.pairwise(portions):
        # The spaces are the room that is left.
        assert len(portion) == 5 or size([*portion, first], (", ", ": ")) > 1000


def test_an_export_is_what_apply_deploys(server: Server, user: User) -> None:
    for name in NAMES:
        server.rename(user.client.new_flow(document(1), name="N"), name)
    count = len(NAMES)

    assert user("export", "copy").stderr == f"{count} flows in copy: {count} written, 0 unchanged\n"
    assert user("export", "copy").stderr == f"{count} flows in copy: 0 written, {count} unchanged\n"
    assert (user.home / "copy" / "reports" / "daily.yaml").read_text() == document(1)
    assert {path.name for path in user.home.iterdir()} <= {"copy", ".cache", ".config"}
    assert user("apply", "-f", "copy").stderr == f"{count} flows: {count} unchanged\n"


def test_flows_with_names_that_are_too_long_for_files_are_exported_and_deployed(user: User) -> None:
    names = ["😀" * 100, "名" * 199 + "a", "名" * 199 + "b", "x/" + "é" * 198]
    for name in names:
        user.client.new_flow(document(1, name=name), name=name)
    count = len(names)

    assert user("export", "copy").stderr == f"{count} flows in copy: {count} written, 0 unchanged\n"
    assert user("export", "copy").stderr == f"{count} flows in copy: 0 written, {count} unchanged\n"
    assert user("apply", "-f", "copy").stderr == f"{count} flows: {count} unchanged\n"


def test_a_name_that_is_too_long_for_a_file_and_not_in_the_document_is_named(user: User) -> None:
    user.client.new_flow(document(1), name="😀" * 100)

    refused = user("export", "copy", code=2).stderr

    assert "is too long for a file: write it into the document, as 'metadata.name'" in refused


def test_an_export_warns_of_files_that_differ_only_by_case(user: User) -> None:
    for number, name in enumerate(("daily", "Daily", "weekly")):
        user.client.new_flow(document(number), name=name)

    exported = user("export", "copy")

    warning = "the files of 'Daily' and 'daily' differ only by case: a file system that ignores it keeps one of them"
    assert [line for line in exported.stderr.splitlines() if "warning" in line] == [f"flowrunner: warning: {warning}"]


def test_an_export_that_cannot_replace_a_file_leaves_nothing_beside_it(user: User) -> None:
    user.client.new_flow(document(1), name="daily")
    copy = user.home / "copy"
    (copy / "daily.yaml").mkdir(parents=True)

    assert "daily.yaml cannot be written" in user("export", "copy", code=2).stderr
    assert [path.name for path in copy.iterdir()] == ["daily.yaml"]


def test_an_export_into_a_directory_that_cannot_be_made_says_so(user: User) -> None:
    (user.home / "file").write_text("")

    assert "file/copy cannot be written: Not a directory" in user("export", "file/copy", code=2).stderr


def test_an_export_of_what_is_no_archive_writes_nothing(user: User) -> None:
    with scripted(answer(200, {"not": "an archive"})) as other:
        done = user("export", "copy", "--url", other.url, code=1)

    assert "The answer is not an archive of flows" in done.stderr
    assert not (user.home / "copy").exists()


def archive(*, method: int = zipfile.ZIP_DEFLATED) -> bytearray:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as opened:
        opened.writestr("daily.yaml", document(1) * 20)
    return bytearray(written.getvalue())


_METHODS: Final = {"lzma": zipfile.ZIP_LZMA, "bzip2": zipfile.ZIP_BZIP2}


def damaged(what: str) -> bytes:
    content = archive(method=_METHODS.get(what, zipfile.ZIP_DEFLATED))
    entry = content.index(b"PK\x01\x02")
    match what:
        case "encrypted":
            content[6] |= 1
            content[entry + 8] |= 1
        case "another method":
            content[8] = content[entry + 10] = 99
        case "other data" | "lzma" | "bzip2":
            content[50:60] = b"\xff" * 10
        case _:
            content[entry + 46] = 0xFF
            content[entry + 9] |= 8
    return bytes(content)


@pytest.mark.parametrize("what", ["encrypted", "another method", "other data", "a name that is no text", *_METHODS])
def test_s57_an_archive_that_cannot_be_read_is_told_without_a_traceback(user: User, what: str) -> None:
    content = damaged(what)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/zip\r\nContent-Length: {len(content)}\r\n\r\n"
    with scripted(head.encode() + content) as other:
        done = user("export", "copy", "--url", other.url, code=1)

    assert "The answer is not an archive of flows" in done.stderr
    assert not (user.home / "copy").exists()


@pytest.mark.parametrize("path", [3, None, ["flows.0.nodes"], "flows.9.nodes", {}])
def test_s57_faults_that_no_server_finds_are_told_without_a_traceback(user: User, path: Any) -> None:
    (user.home / "flows").mkdir()
    (user.home / "flows" / "a.yaml").write_text(document(1))
    faults = [{"path": path, "message": "No", "line": "x", "column": [], "hint": {}, "flow": 7}, {"message": None}]
    refusal = {"error": {"code": "validation_error", "message": "All of it", "details": {"errors": faults}}}
    with scripted(answer(422, refusal)) as other:
        done = user("apply", "flows", "--url", other.url, code=6)

    assert "All of it" in done.stderr


def test_an_export_writes_nowhere_else(user: User, tmp_path: Path) -> None:
    user.client.new_flow(document(1), name="linked/flow")
    user.client.new_flow(document(2), name="file")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept.yaml").write_text("kept")
    copy = user.home / "copy"
    copy.mkdir()
    (copy / "file.yaml").symlink_to(outside / "kept.yaml")

    (copy / "linked").symlink_to(outside)
    user("export", "copy", code=2)
    (copy / "linked").unlink()
    user("export", "copy")

    assert {path.name: path.read_text() for path in outside.iterdir()} == {"kept.yaml": "kept"}
    assert (copy / "file.yaml").read_text() == document(2)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_of_a_flow_is_read_as_the_same_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / "flows" / file_of(name)
    assert path.resolve().is_relative_to(tmp_path / "flows")
    path.parent.mkdir(parents=True)
    path.write_text(document(1))

    assert [file.name for file in read_flow_files([str(tmp_path / "flows")])[0]] == [name]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("metadata: {name: x}\nnodes: {}\n", "x"),
        ("nodes: {metadata: {name: y}}\nmetadata:\n  tags: [name, z]\n  name: 'x y'\n", "x y"),
        ('{"metadata": {"name": "x"}, "nodes": {}}', "x"),
        (r'{"metadata": {"name": "run \ud83c\udf89"}, "nodes": {}}', "run \U0001f389"),
        (r"metadata: {name: 'run \ud83c\udf89'}", r"run \ud83c\udf89"),
        ("metadata: {name: ''}\nnodes: {}\n", None),
        ("nodes: {}\n", None),
        ("metadata: {version: '1'}\nname: x\nnodes: {}\n", None),
        ("metadata: x\nname: y\nnodes: {}\n", None),
        ("- [metadata, {name: x}]\n", None),
        ("metadata: {name: [x]}\n", None),
        ("nodes: [\n", None),
        ("", None),
        ("a: \x00", None),
    ],
)
def test_the_name_of_a_document_is_the_one_in_its_metadata(text: str, name: str | None) -> None:
    assert named_in(text) == name


def test_names_that_a_terminal_would_obey_are_shown_escaped(server: Server, user: User) -> None:
    server.rename(user.client.new_flow(document(1), name="red"), "\x1b[31mred")
    write(user.home, {"a.yaml": document(1)})

    shown = on_a_terminal("diff", "-f", "flows", "--prune", at=user.home, environment=user.environment)
    assert "\\x1b[31mred: pruned" in shown


def test_a_name_in_another_form_is_that_of_the_same_flow(user: User) -> None:
    composed, decomposed = (unicodedata.normalize(form, "Café") for form in ("NFC", "NFD"))
    write(user.home, {f"{decomposed}.yaml": document(1)})

    for number in (1, 2):
        report = user.json("apply", "-f", "flows", "--prune", "--yes")
        assert [(flow["name"], flow["file"]) for flow in report["flows"]] == [(composed, f"flows/{decomposed}.yaml")]
        assert list(stored(user.client)) == [composed], number


def test_a_file_whose_name_is_not_text_is_refused(user: User) -> None:
    write(user.home, {"good.yaml": document()})
    Path(user.home, "flows", os.fsdecode(b"bad\xff.yaml")).write_text(document())

    assert r"bad\xff.yaml is not UTF-8: rename it" in user("apply", "flows", code=2).stderr
    assert stored(user.client) == {}
