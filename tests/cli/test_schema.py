"""Command `flowrunner schema`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema_rs
import pytest

from cli.command import PATIENCE_SECONDS, flowrunner
from flowrunner.cli.main import main
from support.server import clean_environment


def test_the_schema_of_the_language_is_printed(tmp_path: Path) -> None:
    done = flowrunner("schema", at=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    checker = jsonschema_rs.Draft7Validator(json.loads(done.stdout))
    assert checker.is_valid({"nodes": {"a": {"type": "return"}}})
    assert not checker.is_valid({"nodes": {"a": {"type": "retrun"}}})


def test_the_schema_of_one_node_type_is_printed(tmp_path: Path) -> None:
    done = flowrunner("schema", "log", at=tmp_path)

    assert done.returncode == 0
    assert json.loads(done.stdout)["title"] == "Parameters of log"


def test_a_type_that_is_not_there_gets_the_near_one(tmp_path: Path) -> None:
    done = flowrunner("schema", "http.reqeust", at=tmp_path)

    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr == "flowrunner: There is no node type 'http.reqeust'; do you mean 'http.request'?\n"


def test_nothing_is_written_where_it_is_called(tmp_path: Path) -> None:
    flowrunner("schema", at=tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_a_node_type_by_the_name_that_others_give_it_is_told_the_right_one(tmp_path: Path) -> None:
    done = flowrunner("schema", "sleep", at=tmp_path)

    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr == "flowrunner: There is no node type 'sleep'; do you mean 'delay'?\n"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_stream_that_is_closed_is_no_crash(closed: str, tmp_path: Path) -> None:
    command = f'"$0" -m flowrunner context list {closed}'
    done = subprocess.run(
        ["sh", "-c", command, sys.executable],
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, cwd=tmp_path, env=clean_environment(),
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("validate -", "<stdin>:1:1: error"),
        ("run --local -", "<stdin>:1:1: error"),
        ("login", "Cannot connect"),
        ("secret set KEY", "Cannot connect"),
        ("--token - flow list", "There is no token on the standard input"),
    ],
)
def test_a_standard_input_that_is_closed_is_empty(command: str, said: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$0" -m flowrunner {command} <&-', sys.executable],
        capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, cwd=tmp_path,
        env=clean_environment(FLOWRUNNER_URL="http://127.0.0.1:9", HOME=str(tmp_path)),
    )  # fmt: skip

    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_encoding_of_the_output_lacks_is_printed_as_json_escapes_it(tmp_path: Path) -> None:
    encoding = "iso-8859-9"
    (tmp_path / "flow.yaml").write_text("nodes: {a: {type: 名前😀}}", encoding="utf-8")

    def validate(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "flowrunner", "validate", "flow.yaml", *arguments],
            capture_output=True, encoding=encoding, timeout=PATIENCE_SECONDS, check=False, cwd=tmp_path,
            env=clean_environment(HOME=str(tmp_path), PYTHONUTF8="0", PYTHONIOENCODING=encoding),
        )  # fmt: skip

    for_people, for_programs = validate(), validate("--output", "json")

    assert (for_people.returncode, for_programs.returncode) == (6, 6), for_people.stderr
    assert "unknown node type '\\u540d\\u524d\\ud83d\\ude00'" in for_people.stdout
    assert "名前😀" in json.loads(for_programs.stdout)["files"][0]["faults"][0]["message"]


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_what_is_written_to_a_closed_stream_goes_nowhere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the next file that is opened takes its number, and output without a stream goes to the other one."""
    monkeypatch.setattr(sys, name, None)

    main(["version"], standalone_mode=False)

    with getattr(sys, name) as stream:
        assert stream.name == os.devnull
        assert stream.write("x") == 1


@pytest.mark.parametrize("is_buffered", [False, True])
@pytest.mark.parametrize("arguments", [["schema", "log"], ["--help"], ["run", "--help"], ["--version"]], ids=" ".join)
def test_a_full_disk_is_reported_in_words(tmp_path: Path, arguments: list[str], is_buffered: bool) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "flowrunner", *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE_SECONDS, check=False,
            cwd=tmp_path, env=clean_environment(PYTHONUNBUFFERED="" if is_buffered else "1"),
        )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr == "flowrunner: No space left for the output: free some disk space\n"
