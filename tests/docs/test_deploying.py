"""The commands of docs/deploying.md: each runs as it is written, also those of the two CI systems."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from docs.pages import DOCS, blocks
from support.client import Client
from support.preloaded import forked_command
from support.server import clean_environment

PAGE: Final = DOCS / "deploying.md"
INSTALL: Final = 'pip install "$PACKAGE_OF_FLOWRUNNER"'
_BLOCK: Final = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def bash(script: str, at: Path, account: Client, **variables: str) -> "subprocess.CompletedProcess[str]":
    token = account.post("/api/v1/tokens", {"name": "ci", "scopes": ["read", "write"]}).json["token"]
    command = forked_command()
    path = os.pathsep.join([str(command.path.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = clean_environment(
        HOME=str(at), PATH=path, FLOWRUNNER_URL=account.url, FLOWRUNNER_TOKEN=token, **variables
    )
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=at, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False, timeout=100, pass_fds=[command.descriptor],
    )  # fmt: skip


def names(account: Client) -> set[str]:
    return {flow["name"] for flow in account.get("/api/v1/flows").json["flows"]}


def test_every_command_prints_what_the_page_says(account: Client, tmp_path: Path) -> None:
    found = _BLOCK.findall(PAGE.read_text())
    commands, printed = [text for kind, text in found if kind == "sh"], [text for kind, text in found if kind == "text"]
    assert len(commands) == len(printed) == 4

    done = bash("\n".join(f"{text}\necho ----" for text in commands), tmp_path, account)

    assert [part for part in done.stdout.split("----\n") if part] == printed
    assert done.returncode == 0


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "order.yaml").write_text(
        "metadata: {name: orders}\nnodes:\n  a: {type: return, params: {value: 1}}\n"
        "tests:\n  one: {expect: {result: 1}}\n"
    )
    return tmp_path


def test_the_workflow_of_github_deploys_a_push_and_compares_a_pull_request(account: Client, checkout: Path) -> None:
    (workflow,) = [yaml.safe_load(text) for text in blocks(PAGE, "yml") if ".github" in text]
    account.new_flow("nodes: {a: {type: return}}", name="old")

    steps: list[Any] = [step for step in workflow["jobs"]["flows"]["steps"] if "run" in step]
    install, validate, _, diff, apply = [step["run"] for step in steps]
    assert install == INSTALL
    assert [step.get("if") for step in steps] == [
        None, None, None, "github.event_name == 'pull_request'", "github.event_name == 'push'",
    ]  # fmt: skip
    assert "--yes" not in diff

    done = bash("\n".join(step["run"] for step in steps[1:4]), checkout, account)
    assert (done.returncode, "# orders: created" in done.stdout) == (0, True), done.stdout
    assert names(account) == {"old"}
    assert "2 flows: 1 created, 1 pruned" in bash(apply, checkout, account).stdout
    assert names(account) == {"orders"}

    (checkout / "flows" / "order.yaml").write_text("nodes: {a: {type: nothing}}")
    done = bash(validate, checkout, account)
    assert done.returncode == 6
    assert done.stdout.startswith("::error file=flows/order.yaml,line=1,")


def test_the_script_of_gitlab_deploys_the_default_branch_and_compares_others(account: Client, checkout: Path) -> None:
    (pipeline,) = [yaml.safe_load(text) for text in blocks(PAGE, "yml") if ".gitlab-ci" in text]
    install, *script = pipeline["flows"]["script"]
    assert install == INSTALL

    def run(branch: str, lines: list[str]) -> str:
        variables = {"CI_COMMIT_BRANCH": branch, "CI_DEFAULT_BRANCH": "main"}
        done = bash("\n".join(lines), checkout, account, **variables)
        assert done.returncode == 0, done.stdout
        return done.stdout

    assert "# orders: created" in run("topic", script[-1:])
    assert names(account) == set()
    assert "1 flow: 1 created" in run("main", script)
    assert names(account) == {"orders"}
