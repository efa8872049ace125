"""`flowrunner flow` and `run FLOW`, against a server."""

import json
from uuid import uuid4

import pytest

from cli.servers import User
from client.scripted import answer, error, scripted

ECHO = """
metadata: {name: echo}
inputs: {code: {type: string}}
nodes:
  a: {type: return, params: {value: "${flow.input}"}}
"""
DOUBLE = "metadata: {name: double}\nnodes:\n  a: {type: return, params: {value: '${flow.input.n * 2}'}}\n"


@pytest.fixture(scope="module", autouse=True)
def flows(user: User) -> None:
    (user.home / "echo.yaml").write_text(ECHO)
    (user.home / "double.yaml").write_text(DOUBLE)
    user("flow", "create", "echo.yaml")
    # The old guide's name of the argument.
    user("flow", "create", "--file", "double.yaml", "--tag", "numbers", "--server", user.client.url)


def test_flows_are_listed(user: User) -> None:
    lines = user("flow", "list", "--tag", "numbers").stdout.splitlines()

    assert lines[0].split() == ["ID", "NAME", "REVISION", "UPDATED", "TAGS", "DISABLED"]
    assert lines[1].split()[1:3] == ["double", "1"]
    assert [flow["name"] for flow in user.json("flow", "list", "-n", "1")] == ["echo"]
    assert user("flow", "list", "--search", "nothing", "-o", "json").stdout == "[]\n"


def test_a_flow_is_named_by_its_name_its_id_or_the_beginning_of_it(user: User) -> None:
    id = user("flow", "get", "echo", "-o", "name").stdout.strip()

    for given in ("echo", id, id[:-4]):
        assert user.json("flow", "get", given)["definition"] == ECHO
    assert user("flow", "get", "echo", "--definition").stdout == ECHO
    assert "2 flows" in user("flow", "get", id[:9], code=6).stderr
    # Where there is one flow, these would name it.
    for given in ("", "flow-", "flow-0", id[:8]):
        assert "There is no flow" in user("flow", "get", given, code=5).stderr
    assert "There is no flow 'nothing'" in user("flow", "get", "nothing", code=5).stderr
    assert user("flow", "get", f"flow-{'0' * 36}", code=5).stderr.startswith("flowrunner: ")


def test_a_document_is_exported_as_it_was_saved(user: User) -> None:
    text = "# mine\nmetadata: {name: exported}\nnodes: {a: {type:   return}}"
    user("flow", "create", "-", stdin=text)
    file = user.home / "exported.yaml"

    assert user("flow", "export", "exported").stdout == text
    assert user("flow", "export", "exported", "-f", file).stdout == ""
    assert file.read_text() == text
    user("flow", "update", "exported", "-", stdin=f"{text}\n")
    assert "exists already" in user("flow", "export", "exported", "-f", file, code=2).stderr
    assert file.read_text() == text
    user("flow", "export", "exported", "-f", file, "--force")
    assert file.read_text() == f"{text}\n"
    assert user("flow", "export", "exported", "--revision", "1").stdout == text


def test_a_flow_with_faults_is_refused_with_every_one(user: User) -> None:
    document = "nodes:\n  a: {type: webhok, params: {}}\n  b: {type: lig}\n"

    done = user("flow", "create", "-", "--name", "broken", stdin=document, code=6)

    assert done.stdout == ""
    assert "2:13: nodes.a.type: unknown node type 'webhok' (did you mean 'webhook'?)" in done.stderr
    assert "3:13: nodes.b.type" in done.stderr
    assert "  hint: " in done.stderr
    assert "  docs: http://127.0.0.1:" in done.stderr


def test_a_second_flow_of_one_name_is_created_with_a_warning(user: User) -> None:
    first = user("flow", "create", "-", "--name", "twice", "-o", "name", stdin=ECHO)
    second = user("flow", "create", "-", "--name", "twice", "-o", "name", stdin=ECHO)

    assert first.stderr == ""
    assert f"warning: there is another flow called 'twice': {first.stdout.strip()};" in second.stderr
    user("flow", "delete", second.stdout.strip(), "--yes")


def test_secrets_that_a_saved_flow_reads_and_the_workspace_lacks_are_named(user: User) -> None:
    document = "nodes:\n  a: {type: return, params: {value: '${secrets.KEY_OF_SHOP.length + secrets.HERE.length}'}}\n"
    user("secret", "set", "HERE", stdin="a-value-of-some-length")

    created = user("flow", "create", "-", "--name", "lacking", "-o", "name", stdin=document)
    changed = user("flow", "update", "lacking", "-", stdin=document.replace("HERE", "ELSEWHERE"))
    renamed = user("flow", "update", "lacking", "--description", "Lacks")

    assert created.stderr.splitlines() == [
        "flowrunner: warning: there is no secret 'KEY_OF_SHOP', which the flow reads: "
        "'flowrunner secret set NAME' creates it"
    ]
    assert [line.partition(",")[0] for line in changed.stderr.splitlines()] == [
        "flowrunner: warning: there is no secret 'KEY_OF_SHOP'", "flowrunner: warning: there is no secret 'ELSEWHERE'",
    ]  # fmt: skip
    assert renamed.stderr == ""


def test_inputs_are_given_to_each_flow_that_the_server_can_read(user: User) -> None:
    document = "inputs: {n: {type: integer}}\nnodes: {a: {type: log, params: {message: sure?}}}\n"
    user("flow", "create", "-", "--name", "asks", stdin=document)

    assert user.json("run", "asks", "-i", "n=1")["status"] == "running"


def test_triggers_of_a_saved_flow_that_start_nothing_are_named(user: User) -> None:
    document = """
triggers:
  once: {type: schedule, at: "2020-01-01T00:00:00Z"}
  after: {type: execution, flow: nowhere}
nodes: {a: {type: return}}
"""
    created = user("flow", "create", "-", "--name", "idle", stdin=document)

    assert sorted(line.partition(";")[0] for line in created.stderr.splitlines()) == [
        "flowrunner: warning: triggers.after.flow: there is no flow 'nowhere'",
        "flowrunner: warning: triggers.once: the schedule has no due time left",
    ]


def test_a_flow_is_changed_compared_and_restored(user: User) -> None:
    story = DOUBLE.replace("double", "story")
    user("flow", "create", "-", stdin=story)
    (user.home / "triple.yaml").write_text(story.replace("* 2", "* 3"))

    assert "* 3" in user("flow", "diff", "story", "triple.yaml").stdout
    assert user.json("flow", "update", "story", "triple.yaml", "--dry-run")["action"] == "update"
    assert user("flow", "update", "story", "triple.yaml", "--dry-run", "-o", "name").stdout == "update\n"
    planned = user.json("flow", "update", "story", "--tag", "new", "--description", "Other", "--dry-run")
    assert planned["tags"] == {"from": user.json("flow", "get", "story")["tags"], "to": ["new"]}
    assert planned["description"]["to"] == "Other"
    assert not planned.keys() & {"name", "disabled"}
    told = user("flow", "update", "story", "--tag", "new", "--tag", "old", "--disable", "--dry-run").stdout.splitlines()
    assert [line.split(maxsplit=1)[1] for line in told if line.startswith(("tags ", "disabled "))] == [
        "- -> new, old", "- -> yes",
    ]  # fmt: skip
    assert user.json("flow", "update", "story", "triple.yaml", "--description", "Triples")["revision"] == 2
    assert [one["number"] for one in user.json("flow", "revisions", "story")] == [2, 1]
    assert "+  a: {type: return, params: {value: '${flow.input.n * 3}'}}" in user("flow", "diff", "story").stdout
    assert user.json("flow", "diff", "story", "--revision", "2", "--against", "1")["summary"]["nodes_changed"] == ["a"]
    assert user("flow", "restore", "story", "1", code=2).stderr.count("--yes") == 1
    assert user.json("flow", "restore", "story", "1", "--yes")["revision"] == 3
    assert user.json("flow", "get", "story", "--revision", "2")["number"] == 2
    assert user.json("flow", "copy", "story", "--name", "other")["name"] == "other"
    assert user("flow", "diff", "story", "-o", "name").stdout == "3\n"
    assert user("flow", "diff", "story", "triple.yaml", "-o", "name").stdout == "update\n"
    assert user("flow", "diff", "story", "triple.yaml", "--fields", "action").stdout == "action  update\n"
    user("flow", "diff", "story", "triple.yaml", "--exit-code", code=1)
    (user.home / "same.yaml").write_text(user("flow", "export", "story").stdout)
    same = user("flow", "diff", "story", "same.yaml", "--exit-code")
    assert (same.stdout, same.stderr) == ("", "There is no difference\n")


def test_a_flow_is_not_renamed_by_a_document_without_a_word(user: User) -> None:
    user("flow", "create", "-", stdin=DOUBLE.replace("double", "before"))
    (user.home / "after.yaml").write_text(DOUBLE.replace("double", "after"))

    renamed = user("flow", "update", "before", "after.yaml").stderr

    assert renamed == "flowrunner: warning: the document has another name: the flow 'before' is now called 'after'\n"
    assert user("flow", "update", "after", "after.yaml").stderr == ""


def test_one_flow_is_not_made_of_a_directory(user: User) -> None:
    (user.home / "several").mkdir()

    assert "several is a directory: name a file, or" in user("flow", "create", "several", code=2).stderr


def test_a_flow_is_disabled_and_deleted(user: User) -> None:
    user("flow", "create", "-", "--name", "short", stdin=DOUBLE)

    assert user.json("flow", "update", "short", "--disable")["disabled"]
    assert "is disabled" in user("run", "short", code=6).stderr
    user("flow", "update", "short", code=2)
    assert "--yes" in user("flow", "delete", "short", code=2).stderr
    user("flow", "delete", "short", "-y")
    user("flow", "get", "short", code=5)


def test_a_flow_moves_to_another_workspace(user: User) -> None:
    slug = f"data-{uuid4().hex[:12]}"
    user("workspace", "create", "Data team", "--slug", slug)
    user("flow", "create", "-", "--name", "mover", stdin=DOUBLE)
    user("flow", "create", "-", "--name", "second mover", stdin=DOUBLE)

    told = dict(
        line.split(maxsplit=1) for line in user("flow", "move", "second mover", slug, "--yes").stdout.splitlines()
    )
    assert (told["flow.name"], told["missing_secrets"]) == ("second mover", "-")
    assert user.json("flow", "move", "mover", slug, "--yes")["flow"]["name"] == "mover"

    user("flow", "get", "mover", code=5)
    assert user.json("flow", "list", "--workspace", slug)[0]["name"] == "mover"
    assert user.json("flow", "list", environment={"FLOWRUNNER_WORKSPACE": slug})[0]["name"] == "mover"


def test_the_secrets_that_a_moved_flow_lacks_are_a_warning(user: User) -> None:
    slug = f"data-{uuid4().hex[:12]}"
    user("workspace", "create", "Data team", "--slug", slug)
    user(
        "flow", "create", "-", "--name", "reader", stdin="nodes: {a: {type: log, params: {message: '${secrets.GONE}'}}}"
    )

    moved = user("flow", "move", "reader", slug, "--yes", "-q")

    assert "flowrunner: warning: its new workspace lacks the secrets GONE\n" in moved.stderr


def test_a_difference_that_was_cut_off_says_so(user: User) -> None:
    (user.home / "longer.yaml").write_text("".join(f"# {'b' * 1000} {n}\n" for n in range(600)) + ECHO)
    user("flow", "create", "-", "--name", "long",
         stdin="".join(f"# {'a' * 1000} {n}\n" for n in range(600)) + ECHO)  # fmt: skip

    cut = user("flow", "diff", "long", "longer.yaml").stderr

    assert cut == "flowrunner: warning: the rest of the difference is too long to show\n"


# Runs


def test_a_run_prints_the_execution_at_once(user: User) -> None:
    started = user.json("run", "double", "-i", "n=21")

    assert started["status"] == "running"
    assert user("run", "double", "-p", "n=1", "-o", "name").stdout.startswith("exec-")


def test_a_run_that_is_waited_for_prints_the_result_alone(user: User) -> None:
    done = user("run", "double", "-i", '{"n": 21}', "--wait")

    assert done.stdout == "42\n"
    assert done.stderr == ""
    assert json.loads(user("flow", "run", "double", "-i", "-", "--wait", stdin='{"n": 4}').stdout) == 8


def test_text_stays_text_where_the_flow_asks_for_it(user: User) -> None:
    assert user.json("run", "echo", "-p", "code=7", "--wait", "--query", "result") == {"code": "7"}
    id = user("run", "echo", "-i", "code=7", "-o", "name").stdout.strip()
    assert user.json("rerun", id, "-i", "code=8", "--wait", "--query", "result") == {"code": "8"}


def test_a_key_starts_an_execution_once(user: User) -> None:
    first, second = (user("run", "double", "-i", "n=1", "--idempotency-key", "k1", "-o", "name").stdout for _ in "12")

    assert first == second
    assert user("run", "double", "-i", "n=2", "--idempotency-key", "k1", code=6)


@pytest.mark.parametrize("key", ["", " ", "é", "k" * 256])
def test_what_is_no_key_starts_nothing(user: User, key: str) -> None:
    before = user("executions", "list", "-o", "name").stdout

    refused = user("run", "double", "-i", "n=1", "--idempotency-key", key, code=2)

    assert "--idempotency-key: must be 1 to 255 visible characters" in refused.stderr
    assert user("executions", "list", "-o", "name").stdout == before


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run",), 2, "Name a flow"),
        (("flow", "create", "x" * 300), 2, "cannot be read: File name too long"),
        (("run", "double", "Ada"), 2, "Name one flow: 'Ada' is another one. Inputs are given with -i."),
        (("run", "double", "--approve", "ask"), 2, "--approve is for --local"),
        (("run", "double", "--with", "a.yaml"), 2, "--with is for --local"),
        (("run", "echo.yaml", "--wait"), 2, "--wait is for flows on a server"),
        (("run", "nothing"), 5, "There is no flow 'nothing'"),
        (("run", "echo", "-i", "code={"), 0, ""),
        (("run", "double", "-i", "@missing.json"), 2, "cannot be read"),
        (("run", "double", "--timeout", "soon"), 2, "--timeout"),
        (("run", "double", "--output", "xml"), 2, "xml"),
    ],
)
def test_what_cannot_be_run_is_refused(arguments: tuple[str, ...], code: int, said: str, user: User) -> None:
    assert said in user(*arguments, code=code).stderr


def test_a_file_is_run_here(user: User) -> None:
    assert json.loads(user("run", "double.yaml", "-q", "-i", "n=3").stdout) == 6
    assert json.loads(user("run", "-", "-q", "-i", "n=3", stdin=DOUBLE).stdout) == 6


def test_a_name_that_no_flow_has_suggests_the_one_that_was_meant(user: User) -> None:
    for given in ("Echo", "eccho", "ECHO"):
        assert f"There is no flow '{given}'; do you mean 'echo'?" in user("run", given, code=5).stderr
    assert "There is no flow 'zzz': 'flowrunner flow list' shows the names" in user("flow", "get", "zzz", code=5).stderr


def test_a_copy_in_a_workspace_without_its_secrets_is_warned_of(user: User) -> None:
    slug = f"copies-{uuid4().hex[:12]}"
    user("workspace", "create", "Copies", "--slug", slug)
    user("secret", "set", "ONLY_HERE", "-", stdin="a-secret-of-one-workspace")
    user(
        "flow",
        "create",
        "-",
        "--name",
        "reads",
        stdin="nodes: {a: {type: return, params: {value: '${secrets.ONLY_HERE}'}}}",
    )

    assert "ONLY_HERE" in user("flow", "copy", "reads", "--to", slug).stderr
    assert user("flow", "copy", "reads", "--name", "reads again").stderr == ""


def test_a_copy_that_is_made_is_no_failure_for_who_may_not_read_it(user: User) -> None:
    slug = f"blind-{uuid4().hex[:12]}"
    user("workspace", "create", "Blind", "--slug", slug)
    id = user("flow", "create", "-", "--name", "blind", "-o", "name", stdin=DOUBLE).stdout.strip()
    path = f"/api/v1/flows/{id}"
    with scripted(answer(201, {"id": "flow-2", "name": "blind"}), error(403, "FORBIDDEN")) as other:
        done = user("flow", "copy", id, "--to", slug, "--url", other.url)

    assert [head.split()[:2] for head in other.heads()] == [["POST", f"{path}/copy"], ["GET", path]]
    assert "flow-2" in done.stdout


def test_a_dry_run_of_a_creation_shows_what_it_would_make(user: User) -> None:
    create = ("flow", "create", "-", "--name", "planned", "--dry-run")
    assert user(*create, "-o", "name", stdin=DOUBLE).stdout == "planned\n"
    planned = user.json(*create, stdin=DOUBLE)

    assert (planned["name"], planned["action"]) == ("planned", "create")
    assert "+nodes" in planned["diff"]
    user("flow", "get", "planned", code=5)
