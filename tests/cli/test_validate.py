"""Command `flowrunner validate`, as a user sees it."""

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from cli.command import flowrunner, on_a_terminal, start_flowrunner

SOURCE: Final = Path(__file__).parents[2] / "src" / "flowrunner"
# Documents with everything that can be wrong; at the end of each stands what must be said, behind `#>`.
FAULTS: Final = Path(__file__).parent / "faults"
# Common mistakes of users of other systems and of YAML beginners, a file for each.
MISTAKES: Final = Path(__file__).parent / "mistakes"
VALID: Final = "nodes:\n  a: {type: return, params: {value: 1}}\n"
FAULTY: Final = "nodes:\n  a: {type: retrun}\n"
WITH_A_WARNING: Final = """\
nodes:
  ask: {type: approval, params: {prompt: Go on?}, next: {approved: done, timeout: done}, timeout: 1d}
  done: {type: return}
"""
_PLAIN_CODES: Final = (
    "default", "duration", "enum", "moment", "name", "param", "pattern", "range", "recursive", "reference", "required",
    "too_deep", "too_long", "type", "unknown_key", "unsupported",
)  # fmt: skip
# No document of a few lines has it.
_SHOWN_ELSEWHERE: Final = {"too_large"}


def expected_of(file: Path) -> list[str]:
    return [line.removeprefix("#> ") for line in file.read_text().splitlines() if line.startswith("#> ")]


def fits(expected: str, line: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, expected.split("…"))), line) is not None


def assert_lines(expected: list[str], lines: list[str]) -> None:
    assert len(expected) == len(lines), lines
    for wanted, line in zip(expected, lines, strict=True):
        assert fits(wanted, line), (wanted, line)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name, text in {"valid": VALID, "faulty": FAULTY, "warning": WITH_A_WARNING}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


# What is wrong, and where


@pytest.mark.parametrize("directory", [FAULTS, MISTAKES], ids=lambda directory: str(directory.name))
def test_every_fault_is_told_with_its_place_and_a_hint(directory: Path, tmp_path: Path) -> None:
    files = sorted(directory.glob("*.yaml"))

    done = flowrunner("validate", *files, at=tmp_path)

    assert done.returncode == 6
    said: dict[str, list[str]] = {file.name: [] for file in files}
    name = ""
    for line in done.stdout.splitlines():
        if line.startswith("    hint: "):
            said[name].append(line.strip())
        else:
            place, _, rest = line.partition(".yaml:")
            name = f"{Path(place).name}.yaml"
            said[name].append(rest)
    for file in files:
        assert_lines(expected_of(file), said[file.name])


def test_programs_are_told_the_same_as_people(tmp_path: Path) -> None:
    files = sorted(FAULTS.glob("*.yaml"))

    done = flowrunner("validate", "-o", "json", *files, at=tmp_path)

    report = json.loads(done.stdout)
    assert done.returncode == 6
    assert [one["file"] for one in report["files"]] == list(map(str, files))
    for file, one in zip(files, report["files"], strict=True):
        assert_lines(expected_of(file), [line for fault in one["faults"] for line in lines_of(fault)])
    faults = [fault for one in report["files"] for fault in one["faults"]]
    assert report["errors"] == sum(fault["severity"] == "error" for fault in faults)
    assert report["warnings"] == sum(fault["severity"] == "warning" for fault in faults) == 3
    assert report["ok"] is False


def lines_of(fault: dict[str, Any]) -> Iterator[str]:
    path = f"{fault['path']}: " if fault["path"] else ""
    yield f"{fault['line']}:{fault['column']}: {fault['severity']} {fault['code']}: {path}{fault['message']}"
    if fault["hint"] is not None:
        yield f"hint: {fault['hint']}"


def test_every_code_of_the_reader_has_a_sample() -> None:
    reader = ("language/*.py", "language/flow_tests/*.py", "domain/expression/*.py")
    files = {file for pattern in reader for file in SOURCE.glob(pattern)}
    # The types of errors that executions end with are no codes of faults.
    text = "".join(file.read_text() for file in files - {SOURCE / "language/error_types.py"})
    codes = set(
        re.findall(
            r'"((?:yaml|node|start|edge|expression|script|timeout|retry|scope|test|mock|metadata|expect)\.[a-z_]+)"',
            text,
        )
    )
    codes |= {code for code in _PLAIN_CODES if f'"{code}"' in text}
    assert codes >= {"yaml.tag", "node.unreachable", "expression.secret", "mock.both", "recursive", "range"}

    samples = "".join(file.read_text() for place in (FAULTS, MISTAKES) for file in place.glob("*.yaml"))

    assert codes - set(re.findall(r"(?:error|warning) ([a-z_.]+):", samples)) - _SHOWN_ELSEWHERE == set()


def test_a_document_that_is_no_text_says_what_to_do(home: Path) -> None:
    (home / "latin.yaml").write_bytes("nodes: {a: {type: return}} # caf\xe9".encode("latin-1"))

    done = flowrunner("validate", "latin.yaml", at=home)

    assert done.returncode == 6
    assert done.stdout == "latin.yaml:1:1: error encoding: the document is not UTF-8 text\n    hint: save it as UTF-8\n"


def test_a_file_that_never_ends_is_read_no_further_than_a_flow_may_be_long(home: Path) -> None:
    done = flowrunner("validate", "/dev/zero", at=home)

    assert done.returncode == 6
    assert "/dev/zero:1:1: error too_large: a flow document has at most 1048576 bytes" in done.stdout


def test_what_stands_in_a_document_does_not_reach_the_terminal_as_a_command(home: Path) -> None:
    (home / "evil\x1b[2J.yaml").write_text('nodes:\n  "a\\e[31m": {type: return}\n')

    done = flowrunner("validate", "evil\x1b[2J.yaml", at=home)

    assert done.returncode == 6
    assert "\x1b" not in done.stdout + done.stderr
    assert r"\x1b[31m" in done.stdout


# Secrets


def test_secrets_that_are_not_at_hand_are_warned_of(home: Path) -> None:
    (home / "flow.yaml").write_text('nodes:\n  a: {type: return, params: {value: "${secrets.KEY} ${secrets.TOKEN}"}}\n')
    env = home / ".env"
    env.write_text("TOKEN=a-token-of-mine\n")
    env.chmod(0o600)

    done = flowrunner("validate", "--secrets", ".env", "flow.yaml", at=home)

    assert (done.returncode, done.stderr) == (0, "1 flow: 0 errors, 1 warning\n")
    assert done.stdout == (
        "flow.yaml:2:37: warning secret.unknown: nodes.a.params.value: there is no secret 'KEY'\n"
        "    hint: set FLOWRUNNER_SECRET_KEY, or write it into the file that --secrets names\n"
    )
    again = flowrunner(
        "validate", "--secrets", ".env", "--strict", "flow.yaml", at=home, environment={"FLOWRUNNER_SECRET_KEY": "k"}
    )
    assert (again.returncode, again.stdout) == (0, "")


def test_configuration_values_that_are_not_at_hand_are_warned_of(home: Path) -> None:
    (home / "flow.yaml").write_text('nodes:\n  a: {type: return, params: {value: "${config.SITE} ${config.LIMIT}"}}\n')
    (home / "staging.yaml").write_text("SITE: staging\n")

    done = flowrunner("validate", "--values", "staging.yaml", "flow.yaml", at=home)
    without = flowrunner("validate", "flow.yaml", at=home)

    assert done.stdout == (
        "flow.yaml:2:37: warning config.unknown: nodes.a.params.value: there is no configuration value 'LIMIT'\n"
        "    hint: write it into the file that --values names\n"
    )
    assert (without.returncode, without.stdout) == (0, "")


def test_without_a_file_of_secrets_nobody_is_warned_of_them(home: Path) -> None:
    (home / "flow.yaml").write_text('nodes:\n  a: {type: return, params: {value: "${secrets.KEY}"}}\n')

    assert flowrunner("validate", "--strict", "flow.yaml", at=home).returncode == 0


# Which files


def test_many_files_are_looked_at_together(home: Path) -> None:
    done = flowrunner("validate", "valid.yaml", "faulty.yaml", "warning.yaml", at=home)

    assert (done.returncode, done.stderr) == (6, "3 flows: 1 error, 1 warning\n")
    assert [line.partition(" ")[0] for line in done.stdout.splitlines() if not line.startswith(" ")] == [
        "faulty.yaml:2:13:",
        "warning.yaml:2:51:",
    ]


def test_a_directory_is_searched_for_flows(home: Path) -> None:
    (home / "more" / ".hidden").mkdir(parents=True)
    (home / "more" / "deep.yml").write_text(FAULTY)
    (home / "more" / "compose.yaml").write_text("services: {web: {}}\n")
    (home / "more" / ".hidden" / "flow.yaml").write_text(FAULTY)
    (home / "more" / "notes.txt").write_text(FAULTY)

    done = flowrunner("validate", "more", at=home)

    assert (done.returncode, done.stderr) == (6, "1 flow: 1 error, 0 warnings (1 file without 'nodes' left out)\n")
    assert done.stdout.startswith("more/deep.yml:2:13: error node.type")


def test_a_file_that_is_named_is_looked_at_even_if_it_is_no_flow(home: Path) -> None:
    (home / "compose.yaml").write_text("services: {web: {}}\n")

    done = flowrunner("validate", "compose.yaml", at=home)

    assert done.returncode == 6
    assert "compose.yaml:1:1: error required: the key 'nodes' is missing" in done.stdout


def test_the_standard_input_is_a_dash(home: Path) -> None:
    done = flowrunner("validate", "-", at=home, stdin=FAULTY)

    assert done.returncode == 6
    assert done.stdout.startswith("<stdin>:2:13: error node.type: nodes.a.type: unknown node type 'retrun'")
    twice = flowrunner("validate", "-", "-", at=home, stdin=FAULTY)
    assert twice.returncode == 2
    assert "Error: The standard input can be read once." in twice.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("missing.yaml", "Error: missing.yaml cannot be read: No such file or directory"),
        ("empty", "Error: There is no flow in empty: no .yaml or .yml file that has 'nodes'"),
        ("socket", "Error: socket cannot be read: No such device or address"),
        (f"nodes: {'x' * 300}", "xxx cannot be read: File name too long"),
    ],
)
def test_what_cannot_be_read_is_a_mistake_of_usage(home: Path, name: str, said: str) -> None:
    (home / "empty").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(home / "socket"))

        done = flowrunner("validate", "valid.yaml", name, at=home)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_without_a_file_it_says_how_it_is_used(home: Path) -> None:
    done = flowrunner("validate", at=home)

    assert done.returncode == 2
    assert "Usage: flowrunner validate [OPTIONS] FILE..." in done.stderr


# How it is told


def test_a_valid_flow_prints_nothing_but_the_count(home: Path) -> None:
    done = flowrunner("validate", "valid.yaml", at=home)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "1 flow: 0 errors, 0 warnings\n")


def test_warnings_fail_only_where_somebody_is_strict(home: Path) -> None:
    lenient = flowrunner("validate", "-o", "json", "warning.yaml", at=home)
    strict = flowrunner("validate", "-o", "json", "--strict", "warning.yaml", at=home)

    assert (lenient.returncode, json.loads(lenient.stdout)["ok"]) == (0, True)
    assert (strict.returncode, json.loads(strict.stdout)["ok"]) == (6, False)
    assert json.loads(strict.stdout)["files"] == json.loads(lenient.stdout)["files"]


def test_pull_requests_get_annotations(home: Path) -> None:
    (home / "a,b.yaml").write_text(FAULTY)

    done = flowrunner("validate", "-o", "github", "a,b.yaml", "warning.yaml", at=home)

    assert done.returncode == 6
    assert done.stdout.splitlines() == [
        "::error file=a%2Cb.yaml,line=2,col=13,title=node.type::"
        "nodes.a.type: unknown node type 'retrun'%0Ahint: did you mean 'return'?",
        "::warning file=warning.yaml,line=2,col=51,title=edge.missing::"
        "nodes.ask.next: the action 'rejected' has no edge: its scope ends with it"
        "%0Ahint: add 'rejected: <node>' if the flow continues",
    ]


def test_colours_are_for_terminals(home: Path) -> None:
    assert "\x1b[31merror\x1b[0m" in on_a_terminal("validate", "faulty.yaml", at=home)
    assert "\x1b" not in on_a_terminal("validate", "faulty.yaml", at=home, environment={"NO_COLOR": "1"})
    assert "\x1b" not in on_a_terminal("validate", "faulty.yaml", at=home, environment={"TERM": "dumb"})
    assert "\x1b" not in flowrunner("validate", "faulty.yaml", at=home).stdout


def test_a_reader_that_goes_away_is_no_crash(home: Path) -> None:
    process = start_flowrunner("validate", "-o", "json", *([FAULTS / "nodes.yaml"] * 50), at=home)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()

    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 1
