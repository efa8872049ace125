"""Command `flowrunner run --local`, as a user sees it."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
import pytest

from cli.command import flowrunner, on_a_terminal, start_flowrunner
from flowrunner.cli.inputs import read_json, read_text
from flowrunner.cli.secrets import read_env
from support.processes import descendants, is_alive
from support.receiver import Receiver
from support.server import clean_environment

ECHO: Final = 'nodes:\n  a: {type: return, params: {value: "${flow.input}"}}\n'
SECRET: Final = "a-key-that-nobody-sees"


def write(at: Path, text: str, name: str = "flow.yaml") -> None:
    (at / name).write_text(text)


def result_of(*arguments: str, at: Path, stdin: str | None = None) -> Any:
    done = flowrunner("run", "--local", "flow.yaml", "-q", *arguments, at=at, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# What flows in


def test_inputs_are_values_objects_files_or_the_standard_input(tmp_path: Path) -> None:
    write(tmp_path, ECHO)
    (tmp_path / "input.json").write_text('{"name": "Ada", "n": 1}')

    assert result_of(at=tmp_path) == {}
    assert result_of("-i", "name=Ada", "-i", "n=3", "-i", "deep={\"a\": [1]}", "-i", "eq=a=b", at=tmp_path) == {
        "name": "Ada", "n": 3, "deep": {"a": [1]}, "eq": "a=b",
    }  # fmt: skip
    assert result_of("-i", '{"name": "Ada"}', at=tmp_path) == {"name": "Ada"}
    assert result_of("-i", "@input.json", "-i", "n=2", "-p", "m=3", at=tmp_path) == {"name": "Ada", "n": 2, "m": 3}
    assert result_of("-i", "-", at=tmp_path, stdin='{"name": "Åsa"}') == {"name": "Åsa"}


def test_text_stays_text_where_the_flow_asks_for_it(tmp_path: Path) -> None:
    write(tmp_path, "inputs: {code: {type: string}, n: {type: integer}}\n" + ECHO)

    assert result_of("-i", "code=007", "-i", "n=7", at=tmp_path) == {"code": "007", "n": 7}


@pytest.mark.parametrize("read", [read_json, read_text])
def test_a_file_that_cannot_be_read_is_reported_with_its_option(read: Callable[[str, str], Any]) -> None:
    with pytest.raises(click.UsageError, match=r"^--data: none\.json cannot be read: No such file or directory$"):
        read("--data", "@none.json")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("-i", "input.json"),
            "--input takes NAME=VALUE, a JSON object, @FILE or -, and not 'input.json': did you mean @input.json?",
        ),
        (("-i", "Ada"), "--input takes NAME=VALUE, a JSON object, @FILE or -, and not 'Ada'"),
        (("-i", "x" * 300), "--input takes NAME=VALUE, a JSON object, @FILE or -, and not 'xxx"),
        (("-p", "Ada"), "--param takes NAME=VALUE, and not 'Ada'"),
        (("-i", "@none.json"), "--input: none.json cannot be read: No such file or directory"),
        (("-i", "@input.json"), 'input.json is not a JSON object, such as {"name": "value"}'),
        (("-i", "{"), "--input is not JSON: Expecting property name enclosed in double quotes"),
        (("-i", '{"n": NaN}'), "--input is not JSON: there is no NaN in it"),
        (("-i", "-", "-i", "-"), "The standard input can be read once."),
        (("name=Ada",), "Give the input with -i: -i name=Ada"),
        (("--signal", "=1"), "--signal begins with a name, and not '=1'"),
        (("--signal", "paid={"), "--signal paid is not JSON"),
        (("--approve", "a"), "No node 'a' asks for an approval; those that do: none"),
        (("--approve", "a", "--reject", "a"), "'a' is approved and rejected: give one of them"),
        (("--with", "none.yaml"), "none.yaml cannot be read: No such file or directory"),
        (("--egress-allow", "everything"), "'everything' is neither an address nor a range"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_cannot_be_taken_is_refused_before_anything_runs(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    write(tmp_path, ECHO)
    (tmp_path / "input.json").write_text("[1]")

    done = flowrunner("run", "--local", "flow.yaml", *arguments, at=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_directory_is_no_flow_to_run(tmp_path: Path) -> None:
    write(tmp_path, ECHO)

    done = flowrunner("run", "--local", ".", at=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert "--local takes one flow, and . is a directory. Flows it starts come by --with." in done.stderr


def test_the_flow_itself_may_come_by_the_standard_input(tmp_path: Path) -> None:
    done = flowrunner("run", "--local", "-", "-q", "-i", "n=1", at=tmp_path, stdin=ECHO)

    assert (done.returncode, json.loads(done.stdout)) == (0, {"n": 1})


def test_without_a_flow_it_says_how_to_run_one(tmp_path: Path) -> None:
    done = flowrunner("run", at=tmp_path)

    assert done.returncode == 2
    assert "Name a flow of the server, or a file: flowrunner run order.yaml" in done.stderr
    assert "order.yaml cannot be read" in flowrunner("run", "order.yaml", at=tmp_path).stderr


def test_input_that_the_flow_does_not_take_is_told_with_every_fault(tmp_path: Path) -> None:
    write(tmp_path, "inputs: {name: {type: string}, n: {type: integer}}\n" + ECHO)

    done = flowrunner("run", "--local", "flow.yaml", "-i", "n=many", "-i", "nmae=Ada", at=tmp_path)

    assert (done.returncode, done.stdout) == (6, "")
    assert sorted(done.stderr.splitlines()) == [
        "flowrunner: input.n: must be a whole number",
        "flowrunner: input.nmae: the flow has no input 'nmae' (did you mean 'name'?)",
    ]


def test_a_flow_with_faults_is_not_run(tmp_path: Path) -> None:
    write(tmp_path, "nodes: {a: {type: retrun}}\n")

    done = flowrunner("run", "--local", "flow.yaml", at=tmp_path)

    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr.startswith(
        "flow.yaml:1:19: error node.type: nodes.a.type: unknown node type 'retrun'\n    hint:"
    )


# What comes out


def test_only_the_result_goes_to_the_standard_output(tmp_path: Path) -> None:
    write(
        tmp_path,
        """\
nodes:
  a: {type: log, params: {message: hello, level: warn}, next: b}
  b: {type: transform, params: {value: "Ada é"}, if: "false", next: c}
  c: {type: return, params: {value: {text: "é\\u001b[31m", list: [1, null]}}}
""",
    )

    done = flowrunner("run", "--local", "flow.yaml", at=tmp_path)

    assert done.returncode == 0
    assert json.loads(done.stdout) == {"text": "é\x1b[31m", "list": [1, None]}
    lines = [re.sub(r"^\S+ ", "", line) for line in done.stderr.splitlines()]
    assert [re.sub(r"\d+\.\d+ s", "… s", line) for line in lines] == [
        "start a.1 (log)", "warn  a: hello", "done  a.1 in … s",
        "start b.1 (transform)", "skip  b.1",
        "start c.1 (return)", "done  c.1 in … s",
    ]  # fmt: skip
    quiet = flowrunner("run", "--local", "flow.yaml", "-q", at=tmp_path)
    assert (quiet.stdout, quiet.stderr) == (done.stdout, "")


@pytest.mark.parametrize(
    ("node", "code", "last"),
    [
        ("{type: return}", 0, ""),
        ("{type: fail, params: {error: stock.empty, message: none left}}", 3,
         "flowrunner: the flow failed at a.1: stock.empty: none left"),
        ("{type: wait, params: {key: paid}}", 9, "  a.1 waits for the signal 'paid'. Give it: --signal 'paid=JSON'"),
    ],
    ids=["completed", "failed", "cancelled"],
)  # fmt: skip
def test_the_exit_code_is_the_status(node: str, code: int, last: str, tmp_path: Path) -> None:
    write(tmp_path, f"nodes:\n  a: {node}\n")

    done = flowrunner("run", "--local", "flow.yaml", "-q", at=tmp_path)

    assert done.returncode == code
    assert done.stderr.splitlines()[-1:] == ([last] if last else [])
    assert done.stdout == ("" if code else "null\n")


def test_the_network_is_real_as_far_as_it_is_open_and_retries_are_waited_for(
    tmp_path: Path, receiver: Receiver
) -> None:
    write(
        tmp_path,
        f"""\
nodes:
  ask:
    type: http.request
    params: {{url: "{receiver.url}/status/503"}}
    retry: {{max: 1, delay: 200ms}}
    next: {{error.http.503: told}}
  told: {{type: return, params: {{value: "${{error.type}}"}}}}
""",
    )

    closed = flowrunner("run", "--local", "flow.yaml", "-q", at=tmp_path)
    done = flowrunner("run", "--local", "flow.yaml", "--egress-allow", "127.0.0.0/8", at=tmp_path)

    assert (done.returncode, done.stdout) == (0, '"http.503"\n')
    assert re.search(r"retry ask.1 in 0\.\d+ s\n\S+ start ask.1 \(http.request, attempt 2\)", done.stderr)
    assert closed.returncode == 3
    assert "flowrunner: the flow failed at ask.1: egress.forbidden: " in closed.stderr
    assert closed.stderr.endswith("open its range: --egress-allow 127.0.0.0/8,10.1.0.0/16\n")


def test_colours_are_for_terminals(tmp_path: Path) -> None:
    write(tmp_path, "nodes: {a: {type: log, params: {level: error, message: oh}}}\n")

    assert "\x1b[31merror a: oh\x1b[0m" in on_a_terminal("run", "--local", "flow.yaml", at=tmp_path)
    assert "\x1b" not in flowrunner("run", "--local", "flow.yaml", at=tmp_path).stderr
    assert "\x1b" not in on_a_terminal("run", "--local", "flow.yaml", "--no-color", at=tmp_path)


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        ((), '{\n  "a": [\n    1,\n    "x"\n  ]\n}\n'),
        (("-o", "yaml"), "a:\n- 1\n- x\n"),
        (("--query", "a[1]"), '"x"\n'),
        (("--query", "a[1]", "-o", "name"), "x\n"),
    ],
)
def test_the_result_has_the_format_that_is_asked_for(options: tuple[str, ...], printed: str, tmp_path: Path) -> None:
    write(tmp_path, "nodes: {a: {type: return, params: {value: {a: [1, x]}}}}\n")

    assert flowrunner("run", "flow.yaml", "-q", *options, at=tmp_path).stdout == printed


# Secrets


def test_secrets_come_from_a_file_or_the_environment_and_show_nowhere(tmp_path: Path) -> None:
    write(
        tmp_path,
        """\
nodes:
  a: {type: log, params: {message: "${secrets.KEY} and ${secrets.TOKEN}"}, next: b}
  b: {type: return, params: {value: ["${secrets.KEY}", "${secrets.TOKEN}", "${secrets.TOKEN.length}"]}}
""",
    )
    env = tmp_path / ".env"
    env.write_text(f"# of the shop\nexport KEY='{SECRET}'\nTOKEN=in-the-file-too # not of it\n")
    env.chmod(0o600)

    done = flowrunner(
        "run", "--local", "flow.yaml", "--secrets", ".env", at=tmp_path,
        environment={"FLOWRUNNER_SECRET_TOKEN": "in-the-environment", "FLOWRUNNER_LOG_LEVEL": "debug"},
    )  # fmt: skip
    only_there = flowrunner(
        "run", "--local", "flow.yaml", at=tmp_path,
        environment={"FLOWRUNNER_SECRET_TOKEN": "in-the-environment", "FLOWRUNNER_SECRET_KEY": SECRET},
    )  # fmt: skip

    assert (done.returncode, json.loads(done.stdout)) == (0, ["***", "***", len("in-the-file-too")])
    assert json.loads(only_there.stdout) == ["***", "***", len("in-the-environment")]
    assert "info  a: *** and ***" in done.stderr
    for text in (SECRET, "in-the-file-too", "in-the-environment"):
        assert text not in done.stdout + done.stderr + only_there.stdout + only_there.stderr


def test_a_secret_that_nobody_gave_is_warned_of_before_the_flow_runs(tmp_path: Path) -> None:
    write(tmp_path, 'nodes:\n  a: {type: return, params: {value: "${secrets.KEY}"}}\n')

    done = flowrunner("run", "--local", "flow.yaml", at=tmp_path)

    assert done.returncode == 3
    assert done.stderr.splitlines()[:2] == [
        "flow.yaml:2:37: warning secret.unknown: nodes.a.params.value: there is no secret 'KEY'",
        "    hint: set FLOWRUNNER_SECRET_KEY, or write it into the file that --secrets names",
    ]


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("KEY=value-of-it\n", 0o644, "others can read .env (mode 0644). Close it: chmod 600 .env"),
        ("KEY=value-of-it\nmy-password\n", 0o600, "line 2 of .env is not NAME=value"),
        ("\udcff", 0o600, ".env cannot be read: it is not UTF-8 text"),
        (None, 0o600, ".env cannot be read: No such file or directory"),
    ],
    ids=["open to others", "no variable", "no text", "not there"],
)
def test_a_file_of_secrets_that_will_not_do_is_refused(
    content: str | None, mode: int, said: str, tmp_path: Path
) -> None:
    write(tmp_path, ECHO)
    if content is not None:
        (tmp_path / ".env").write_text(content, errors="surrogateescape")
        (tmp_path / ".env").chmod(mode)

    done = flowrunner("run", "--local", "flow.yaml", "--secrets", ".env", at=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert f"Error: --secrets: {said}" in done.stderr
    assert "my-password" not in done.stderr


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("a#b", "a#b"), ("a #b", "a"), ("#b", ""), ("'a #b'", "a #b"), ('"a#b" # c', "a#b"), ("a=b", "a=b"),
        ("'a' b", "'a' b"), ("", ""),
    ],
)  # fmt: skip
def test_a_comment_begins_after_a_space_and_outside_of_quotes(written: str, value: str, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(f"# ONE=1\nexport TWO = {written}\n")
    file.chmod(0o600)

    assert read_env(file) == {"TWO": value}


def test_secrets_may_be_in_a_file_of_windows(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes("\ufeffONE=1\r\nTWO='2' # two\r\n".encode())
    file.chmod(0o600)

    assert read_env(file) == {"ONE": "1", "TWO": "2"}


def test_a_secret_too_short_to_be_hidden_is_warned_of(tmp_path: Path) -> None:
    write(tmp_path, ECHO)

    done = flowrunner("run", "--local", "flow.yaml", "-q", at=tmp_path, environment={"FLOWRUNNER_SECRET_PIN": "1234"})

    assert (done.returncode, done.stderr) == (
        0, "flowrunner: warning: the secret 'PIN' has fewer than 8 characters: it will not be hidden\n",
    )  # fmt: skip


# What it waits for


WAITING: Final = """\
nodes:
  ask:
    type: approval
    params: {prompt: "Ship ${flow.input.n}?", form: {type: object, properties: {by: {type: string}}, required: [by]}}
    next: {approved: paid, rejected: no}
  paid: {type: wait, params: {key: "order-${flow.input.n}"}, next: done}
  done: {type: return, params: {value: {paid: "${input}", answer: "${nodes.ask.result.data}"}}}
  "no": {type: return, params: {value: refused}}
"""


def test_answers_are_given_with_the_command(tmp_path: Path) -> None:
    write(tmp_path, WAITING)

    assert result_of("-i", "n=7", "--approve", 'ask={"by": "Ada"}', "--signal", "order-7=20", at=tmp_path) == {
        "paid": 20, "answer": {"by": "Ada"},
    }  # fmt: skip
    assert result_of("-i", "n=7", "--reject", 'ask={"by": "Ada"}', at=tmp_path) == "refused"


def test_an_approval_in_a_loop_is_answered_in_each_round(tmp_path: Path) -> None:
    rounds = 'nodes: {ask: {type: approval, params: {prompt: "Ship?"}, next: {approved: end, rejected: end}}, '
    rounds += 'end: {type: return, params: {value: "${nodes.ask.result.data}"}}}'
    loop = f'{{type: foreach, params: {{items: [1, 2], collect: "${{result}}"}}, {rounds}}}'
    write(tmp_path, f"nodes: {{each: {loop}}}\n")

    assert result_of("--approve", 'ask={"by": "Ada"}', at=tmp_path) == [{"by": "Ada"}] * 2


def test_what_it_waits_for_is_told_and_where_nobody_answers_it_ends(tmp_path: Path) -> None:
    write(tmp_path, WAITING)

    unasked = flowrunner("run", "--local", "flow.yaml", "-i", "n=7", at=tmp_path)
    unpaid = flowrunner("run", "--local", "flow.yaml", "-i", "n=7", "--approve", 'ask={"by": "Ada"}', at=tmp_path)

    assert (unasked.returncode, unasked.stdout) == (9, "")
    assert 'wait  ask.1 for an approval: "Ship 7?"\n' in unasked.stderr
    assert unasked.stderr.endswith(
        "flowrunner: the flow was cancelled: no input was given for its waiting steps\n"
        '  ask.1 waits for an approval: "Ship 7?". Answer: --approve ask or --reject ask\n'
    )
    assert unpaid.returncode == 9
    assert "wait  paid.1 for the signal 'order-7'\n" in unpaid.stderr
    assert "done  ask.1 --approved-->" in unpaid.stderr
    assert unpaid.stderr.endswith("  paid.1 waits for the signal 'order-7'. Give it: --signal 'order-7=JSON'\n")


def test_an_answer_that_does_not_fit_the_form_ends_it(tmp_path: Path) -> None:
    write(tmp_path, WAITING)

    done = flowrunner("run", "--local", "flow.yaml", "-q", "-i", "n=7", "--approve", "ask={}", at=tmp_path)

    assert done.returncode == 9
    assert "the answer to 'ask' does not fit its form" in done.stderr


def test_signals_of_one_name_are_taken_in_order(tmp_path: Path) -> None:
    write(
        tmp_path,
        """\
nodes:
  each:
    type: foreach
    params: {items: [1, 2, 3]}
    nodes: {paid: {type: wait, params: {key: paid}}}
""",
    )

    assert result_of("--signal", "paid=1", "--signal", "paid=2", at=tmp_path) == [1, 2, 2]


# Other flows


def test_a_flow_starts_the_others_that_are_given(tmp_path: Path) -> None:
    write(tmp_path, "metadata: {name: parent}\nnodes: {call: {type: flow, params: {flow: child, input: {n: 2}}}}\n")
    (tmp_path / "more").mkdir()
    write(
        tmp_path,
        'metadata: {name: child}\nnodes: {give: {type: return, params: {value: "${flow.input.n}"}}}\n',
        "more/child.yaml",
    )

    alone = flowrunner("run", "--local", "flow.yaml", "-q", at=tmp_path)
    together = flowrunner("run", "--local", "flow.yaml", "--with", "more", at=tmp_path)

    assert alone.returncode == 3
    assert alone.stderr.endswith(
        "There is no flow 'child' among the given files\n  Name the file of that flow too: --with FILE\n"
    )
    assert (together.returncode, together.stdout) == (0, "2\n")
    assert "wait  call.1 for the flow that it has started" in together.stderr
    assert re.search(r"\[1\] start give.1", together.stderr)


# How it ends


LONG: Final = """\
on_finish: tidy
nodes:
  rest: {type: delay, params: {duration: 1h}}
  tidy: {type: log, params: {message: "it was ${execution.status}"}}
"""


def until(process: "subprocess.Popen[str]", text: str) -> str:
    """Return the standard error of the command up to the line with ``text``."""
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"it ended: {seen}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_cancels_it_and_what_comes_at_the_end_runs(number: signal.Signals, tmp_path: Path) -> None:
    write(tmp_path, LONG)
    process = start_flowrunner("run", "--local", "flow.yaml", at=tmp_path)
    seen = until(process, "wait  rest.1")
    assert re.search(r"wait  rest.1 \(delay\) until (\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\n", seen)

    process.send_signal(number)
    out, err = process.communicate(timeout=60)

    assert (process.returncode, out) == (130, "")
    assert err.startswith("flowrunner: cancelling; once more to stop at once\n")
    assert "info  tidy: it was cancelled" in err
    assert err.endswith("flowrunner: the flow was cancelled: interrupted\n")


def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    write(
        tmp_path,
        """\
on_finish: tidy
nodes:
  rest: {type: delay, params: {duration: 1h}}
  tidy: {type: delay, params: {duration: 1h}}
""",
    )
    process = start_flowrunner("run", "--local", "flow.yaml", at=tmp_path)
    until(process, "wait  rest.1")
    process.send_signal(signal.SIGINT)
    until(process, "wait  on_finish/tidy.1")

    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)

    assert (process.returncode, out) == (130, "")


def test_no_process_is_left_of_it(tmp_path: Path) -> None:
    write(
        tmp_path,
        """\
nodes:
  a: {type: transform, params: {value: "${1 + 1}"}, next: rest}
  rest: {type: delay, params: {duration: 1h}}
""",
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "flowrunner", "run", "--local", "flow.yaml"], cwd=tmp_path,
        env=clean_environment(HOME=str(tmp_path)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(process, "wait  rest.1")
    started = descendants(process.pid)
    assert started, "JavaScript is evaluated in processes of its own"

    process.kill()
    process.communicate(timeout=60)

    deadline = time.monotonic() + 20
    while any(map(is_alive, started)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [pid for pid in started if is_alive(pid)] == []


def test_nothing_is_left_where_it_is_called(tmp_path: Path) -> None:
    write(tmp_path, ECHO)

    result_of(at=tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["flow.yaml"]
