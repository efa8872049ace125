"""Options that contradict each other, or mean nothing beside others: an error of usage, before anything is sent."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner

from flowrunner.cli.main import main
from flowrunner.client.sync_transport import SyncTransport

ONE: Final = f"exec-{36 * '0'}"
LOGINS: Final = (("--browser",), ("--paste",), ("--username", "ada@example.com"), ("--with-token",))
PLACES: Final = (("--delete-workspace",), ("--workspace-to", "ada@example.com"), ("--keep-workspace",))
OF_ONE: Final = (
    "--from a --node-input {}", "-i a=1", "--set-label a=1", "--wait",
)  # fmt: skip


def contradictions() -> Iterator[str]:
    for one, other in combinations(LOGINS, 2):
        # `--paste` is like `--browser`, with a browser on another machine.
        if {one, other} != {("--browser",), ("--paste",)}:
            yield " ".join(("login", *one, *other))
    for one, other in combinations(PLACES, 2):
        yield " ".join(("account delete ada@example.com -y", *one, *other))
    for command in ("cancel", "rerun", "executions delete"):
        yield f"{command} -y"
        yield f"{command} -y {ONE} --flow a"
    for option in OF_ONE:
        yield f"rerun -y --flow a {option}"
    # Without a value it is given all the same.
    yield "approve --data="
    yield f"rerun -y {ONE} {ONE}"
    yield f"rerun -y {ONE} --node-input {{}}"
    yield f"rerun -y {ONE} --elements failed"
    yield "rerun -y --flow a --elements failed"
    yield "cancel -y --flow a --force"
    yield f"approve {ONE}"
    yield "approve --reject"
    yield "approve --data {}"
    yield "flow create flow.yaml --file flow.yaml"
    yield "flow update a flow.yaml --file flow.yaml"
    yield "flow diff a flow.yaml --revision 1"
    yield "flow diff a flow.yaml --against 1"
    yield "validate"
    yield "validate flow.yaml --stored"
    yield "validate --stored --secrets flow.yaml"
    yield "validate --stored --values flow.yaml"
    yield "flow create flow.yaml --fields id --query id"
    yield "--query [ flow create flow.yaml"
    yield "--context a --url http://127.0.0.1:1 whoami"


@pytest.mark.parametrize("words", list(contradictions()))
def test_a_contradiction_is_an_error_of_usage(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = list[object]()
    monkeypatch.setattr(SyncTransport, "send", lambda _, request, **more: sent.append(request))
    # It would wait for a browser.
    monkeypatch.setattr("flowrunner.cli.logins.log_in", lambda *_, **more: None)
    monkeypatch.setenv("FLOWRUNNER_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("FLOWRUNNER_TOKEN", "a-token")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path("flow.yaml").write_text("nodes: {a: {type: return}}\n")

    done = CliRunner().invoke(main, words.split(), input="a secret value\n")

    assert (done.exit_code, sent) == (2, []), (done.output, done.exception)
    assert done.output.startswith("Usage: ")
