"""Secrets, triggers, callbacks, workspaces, accounts, tokens and the rest, against a server."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection
from http.server import HTTPServer
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from cli.command import flowrunner, on_a_terminal, start_flowrunner
from cli.servers import User
from client.scripted import answer, hang_up, scripted
from flowrunner.cli.common import read_secret
from flowrunner.cli.listening import unseen
from flowrunner.domain.standard_webhooks import signature
from support.client import PASSWORD, Client
from support.http_servers import QuietHandler, serving
from support.receiver import Receiver

VALUE = "a-value-of-some-length"
TRIGGERED = """
metadata: {name: triggered}
triggers:
  morning: {type: schedule, cron: "0 6 * * *"}
  push: {type: webhook, verify: none}
nodes:
  a: {type: return, params: {value: 1}}
"""


# Moves of an installation


@pytest.mark.parametrize("url", ["sqlite:////var/lib/flowrunner/flowrunner.db", "sqlite:///back.db"])
def test_a_copy_to_a_sqlite_file_is_told_that_there_is_no_way_back(tmp_path: Path, url: str) -> None:
    done = flowrunner("copy", "--to", url, at=tmp_path)

    assert done.returncode == 1
    assert done.stderr == (
        "flowrunner: --to takes no SQLite file: an installation moves from SQLite to PostgreSQL, and not back\n"
    )


# Secrets


def test_a_secret_on_the_standard_input_may_have_several_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("first\nsecond\n"))

    assert read_secret("Value", given="-") == "first\nsecond"


def test_a_secret_comes_from_a_file_or_the_standard_input_and_never_from_an_argument(user: User) -> None:
    (user.home / "key.txt").write_text(f"{VALUE}\n")

    assert user.json("secret", "set", "FROM_STDIN", stdin=f"{VALUE}\n")["key"] == "FROM_STDIN"
    assert user("secret", "set", "FROM_DASH", "-", stdin=VALUE, code=0)
    assert user("secret", "set", "FROM_FILE", "@key.txt", code=0)
    refused = user("secret", "set", "ARGUMENT", VALUE, code=2)
    assert VALUE not in refused.stderr
    assert "A secret cannot be an argument" in refused.stderr
    listed = user("secret", "list")
    assert listed.stdout.splitlines()[0].split() == ["KEY", "UPDATED", "LAST", "USED", "USED", "BY"]
    assert {one["key"] for one in user.json("secret", "list")} == {"FROM_STDIN", "FROM_DASH", "FROM_FILE"}
    user("flow", "create", "-", "--name", "secret",
         stdin="nodes:\n  a: {type: return, params: {value: '${secrets.FROM_FILE.length}'}}\n")  # fmt: skip
    assert user("run", "secret", "--wait").stdout == f"{len(VALUE)}\n"
    user("secret", "delete", "FROM_DASH", code=2)
    user("secret", "delete", "FROM_DASH", "--yes")
    user("secret", "delete", "FROM_DASH", "--yes", code=5)
    user("secret", "set", "MISSING", "@nothing.txt", code=2)


def test_a_token_of_a_shared_workspace_sets_the_secrets_there(user: User) -> None:
    slug = f"team-{uuid4().hex[:8]}"
    user("workspace", "create", "Team", "--slug", slug)
    created = user.json("token", "create", "ci", "--workspace", slug, "--scope", "read", "--scope", "write")

    user("secret", "set", "OF_TEAM", stdin=VALUE, environment={"FLOWRUNNER_TOKEN": created["token"]})

    assert [one["key"] for one in user.json("secret", "list", "--workspace", slug)] == ["OF_TEAM"]


def test_a_token_that_may_not_read_sets_secrets_of_the_personal_workspace(user: User) -> None:
    token = user.json("token", "create", "writer", "--scope", "write")["token"]

    user("secret", "set", "OF_WRITER", stdin=VALUE, environment={"FLOWRUNNER_TOKEN": token})

    user("secret", "delete", "OF_WRITER", "--yes")
    missing = user("secret", "delete", "MISSING", "--yes", environment={"FLOWRUNNER_TOKEN": token}, code=5)
    assert "Secret not found" in missing.stderr


def test_a_token_that_may_not_read_needs_the_name_of_a_shared_workspace(user: User) -> None:
    slug = f"team-{uuid4().hex[:8]}"
    user("workspace", "create", "Team", "--slug", slug)
    token = user.json("token", "create", "writer", "--workspace", slug, "--scope", "write")["token"]
    environment = {"FLOWRUNNER_TOKEN": token}

    refused = user("secret", "set", "OF_TEAM", stdin=VALUE, environment=environment, code=4)
    user("secret", "set", "OF_TEAM", "--workspace", slug, stdin=VALUE, environment=environment)

    assert "name the workspace with --workspace" in refused.stderr
    assert [one["key"] for one in user.json("secret", "list", "--workspace", slug)] == ["OF_TEAM"]


_ID = "0" * 36


@pytest.mark.parametrize(
    ("command", "before"),
    [
        (("secret", "set", "KEY"), ({"workspaces": [{"id": "w"}]},)),
        (("secret", "import", "secrets.env"), ({"workspaces": [{"id": "w"}]}, {"secrets": []})),
        (("token", "create", "deploy", "--scope", "read"), ()),
        (("trigger", "replay", f"trig-{_ID}", f"hook-{_ID}"), ()),
    ],
    ids=lambda value: " ".join(value[:2]) if value and isinstance(value[0], str) else "",
)
def test_what_is_created_once_is_sent_again_where_the_answer_was_lost(
    command: tuple[str, ...], before: tuple[Any, ...], user: User
) -> None:
    (user.home / "secrets.env").write_text(f"KEY={VALUE}\n")
    (user.home / "secrets.env").chmod(0o600)
    with scripted(*(answer(200, body) for body in before), hang_up, answer(201, {"id": "1"})) as server:
        user(*command, "--url", server.url, stdin=VALUE)

        first, second = (server.header(number, "Idempotency-Key") for number in range(len(before), len(before) + 2))
    assert first == second is not None


def test_an_empty_list_says_what_fills_it(root: User, tmp_path: Path) -> None:
    new = User(root.client.new_account(), tmp_path)

    for command, told in (
        ("secret list", "There are no secrets yet: 'flowrunner secret set KEY' creates one"),
        ("callback list", "There are no callbacks yet: 'flowrunner callback create URL --event EVENT' creates one"),
        ("context list", "There are no contexts yet: 'flowrunner login' makes one"),
        ("approve", "Nothing waits for your approval"),
        ("executions list", "There are no such executions: 'flowrunner run FLOW' starts one"),
        ("executions list --flow x", "There are no such executions: 'flowrunner flow list' shows the names of flows"),
    ):
        done = new(*command.split())
        assert (done.stdout, done.stderr) == ("", f"{told}\n")


@pytest.mark.parametrize("command", ["flow get \udcff", 'run triggered -i {"a":"\\ud800"}'])
def test_text_that_is_not_utf_8_is_named(user: User, triggered: str, command: str) -> None:
    assert "is not UTF-8, or has half of a character: '\\ud" in user(*command.split(), code=2).stderr


def test_a_single_fault_is_said_once(user: User) -> None:
    refused = user("secret", "set", "SHORT", stdin="short", code=6).stderr
    assert refused.count("must have at least 8 characters") == 1
    user("flow", "create", "-", stdin="metadata: {name: one-input}\ninputs: {a: {}}\nnodes: {b: {type: return}}\n")
    unknown = user("run", "one-input", "-i", "c=1", code=6).stderr
    assert (unknown.count("the flow has no input 'c'"), unknown.count("known inputs: a")) == (1, 1)
    query = user("api", "GET", "/executions", "-p", "colour=red", code=6).stderr
    assert (query.count("is not a query parameter"), query.count("known parameters: ")) == (1, 1)
    missing = user("api", "POST", "/flows", "-i", "{}", code=6).stderr
    assert missing.count("Definition is required") == 1
    both = user("secret", "set", "no-name", stdin="short", code=6).stderr
    assert "2 faults" in both
    assert both.count("must have at least 8 characters") == 1


def test_secrets_of_a_workspace_are_those_of_the_chosen_one_alone(user: User) -> None:
    slug = f"secrets-{uuid4().hex[:12]}"
    user("workspace", "create", "Secrets", "--slug", slug)
    there = {"FLOWRUNNER_WORKSPACE": slug}
    (user.home / ".env").write_text(f"OF_FILE={VALUE}\n")
    (user.home / ".env").chmod(0o600)

    user("secret", "set", "OF_TEAM", stdin=VALUE, environment=there)
    user("secret", "import", ".env", environment=there)
    user("secret", "set", "OWN", stdin=VALUE)

    assert {one["key"] for one in user.json("secret", "list", environment=there)} == {"OF_TEAM", "OF_FILE"}
    own = {one["key"] for one in user.json("secret", "list")}
    assert "OWN" in own
    assert not own & {"OF_TEAM", "OF_FILE"}
    user("secret", "delete", "OWN", "-y", code=5, environment=there)
    user("secret", "delete", "OF_TEAM", "-y", environment=there)
    assert {one["key"] for one in user.json("secret", "list", environment=there)} == {"OF_FILE"}


def test_secrets_are_imported_from_a_file_that_only_the_user_can_read(user: User) -> None:
    file = user.home / ".env"
    file.write_text(f"ONE={VALUE}\nTWO='{VALUE}'\n")
    for mode in (0o640, 0o604):
        file.chmod(mode)
        assert "chmod 600" in user("secret", "import", ".env", code=2).stderr
    file.chmod(0o600)

    assert user("secret", "import", ".env", "-o", "name").stdout == "ONE\nTWO\n"
    assert "ONE, TWO" in user("secret", "import", ".env", code=2).stderr
    assert [one["is_new"] for one in user.json("secret", "import", ".env", "--yes")] == [False, False]


def test_a_prompt_does_not_show_the_secret(user: User) -> None:
    shown = typed(f"{VALUE}\n", user, "secret", "set", "TYPED")

    assert "Value of TYPED" in shown
    assert VALUE not in shown
    assert "TYPED" in user("secret", "list", "-o", "name").stdout


def typed(text: str, user: User, *arguments: str, code: int = 0) -> str:
    """Run a command on a terminal on which a text is typed at each prompt; return what the terminal shows."""
    program = (
        "import os, pty, sys\n"
        "pid, ours = pty.fork()\n"
        "if pid == 0: os.execv(sys.executable, [sys.executable, '-m', 'flowrunner', *sys.argv[2:]])\n"
        "seen = b''\n"
        "try:\n"
        "    while chunk := os.read(ours, 65536):\n"
        "        seen += chunk\n"
        "        if seen.endswith((b': ', b'? ')): os.write(ours, sys.argv[1].encode())\n"
        "except OSError: pass\n"
        "sys.stdout.buffer.write(seen)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    environment = {**os.environ, "HOME": str(user.home), "TERM": "xterm", **user.environment}
    done = subprocess.run(
        [sys.executable, "-c", program, text, *arguments], cwd=user.home, env=environment, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout
    return done.stdout


def test_a_destructive_command_asks_on_a_terminal(user: User) -> None:
    user("secret", "set", "ASKED", stdin=VALUE)

    assert "Delete the secret 'ASKED'? [y/N]" in typed("n\n", user, "secret", "delete", "ASKED", code=1)
    assert "ASKED" in user("secret", "list", "-o", "name").stdout
    assert "--no-input asks nothing: give --yes" in typed(
        "y\n", user, "--no-input", "secret", "delete", "ASKED", code=2
    )
    typed("y\n", user, "secret", "delete", "ASKED")
    assert "ASKED" not in user("secret", "list", "-o", "name").stdout


# Triggers


@pytest.fixture(scope="module")
def triggered(user: User) -> str:
    user("flow", "create", "-", stdin=TRIGGERED)
    return "triggered"


def test_triggers_are_looked_up_paused_and_run(user: User, triggered: str) -> None:
    listed = user.json("trigger", "list", "--flow", triggered)
    assert {(one["name"], one["type"]) for one in listed} == {("morning", "schedule"), ("push", "webhook")}
    [schedule] = [one for one in listed if one["type"] == "schedule"]

    for given in ("triggered/morning", schedule["id"], schedule["id"][:-3]):
        assert user.json("trigger", "get", given)["id"] == schedule["id"]
    assert user.json("trigger", "pause", "triggered/morning")["state"] == "paused"
    assert user("trigger", "resume", "triggered/morning").stdout.split()[:6] == [
        "flow_name", "triggered", "name", "morning", "state", "armed",
    ]  # fmt: skip
    assert user("trigger", "run", "triggered/morning", "--wait").stdout == "1\n"
    lines = user("trigger", "next", "triggered/morning", "-n", "3").stdout.splitlines()
    assert len(lines) == 4
    assert "in " in lines[1]
    assert [*user.json("trigger", "next", "triggered/morning", "-n", "1")[0]] == ["time"]
    assert [one["type"] for one in user.json("trigger", "list", "--type", "webhook")] == ["webhook"]
    user("trigger", "get", "triggered/evening", code=5)
    url = user.json("trigger", "get", "triggered/push")["url"]
    assert url.startswith(f"{user.client.url}/hooks/"), "the server of the tests does not know its own address"
    user("flow", "create", "-", stdin=TRIGGERED.replace("name: triggered", "name: reports/daily"))
    assert user.json("trigger", "get", "reports/daily/morning")["name"] == "morning"
    user("flow", "delete", "reports/daily", "-y")


def test_a_trigger_that_listens_to_a_deleted_flow_is_listed_with_a_warning(user: User) -> None:
    made = user.json("flow", "create", "-", stdin="metadata: {name: heard}\nnodes: {a: {type: return}}\n")
    listening = (
        f"metadata: {{name: hears}}\ntriggers: {{after: {{type: execution, flow: {made['id']}}}}}\n"
        "nodes: {a: {type: return}}\n"
    )
    user("flow", "create", "-", stdin=listening)
    assert "Starts nothing" not in user("trigger", "list", "--flow", "hears").stdout
    user("flow", "delete", "heard", "--yes")

    listed = user("trigger", "list", "--flow", "hears")

    assert f"Starts nothing: the workspace has no flow '{made['id']}'" in listed.stdout


def test_a_past_period_is_started_after_a_question(user: User, triggered: str) -> None:
    period = ("--from", "2026-01-01", "--to", "2026-01-03")

    plan = user.json("trigger", "backfill", "triggered/morning", *period, "--dry-run")
    named = user("trigger", "backfill", "triggered/morning", *period, "--dry-run", "-o", "name").stdout
    assert named.splitlines() == plan["times"]
    found = user("trigger", "backfill", "triggered/morning", *period, "--dry-run", "-o", "name", "--query", "times[0]")
    assert found.stdout == f"{plan['times'][0]}\n"
    assert (plan["total"], len(plan["times"])) == (2, 2)
    assert "Start 2 executions?" in user("trigger", "backfill", "triggered/morning", *period, code=2).stderr
    assert user.json("trigger", "backfill", "triggered/morning", *period, "-y")["done"] == 2


def test_a_period_with_nothing_left_to_start_makes_no_job(user: User, triggered: str) -> None:
    period = ("--from", "2026-01-05T07:00:00Z", "--to", "2026-01-05T08:00:00Z")
    before = user.json("job", "list")

    assert "There is nothing to do" in user("trigger", "backfill", "triggered/morning", *period).stderr
    assert user.json("job", "list") == before


class _Sink(QuietHandler):
    received: ClassVar[list[tuple[str, bytes]]] = []

    def do_POST(self) -> None:
        self.received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()


def test_an_import_of_secrets_that_ends_early_says_which_were_set(user: User) -> None:
    file = user.home / "cut.env"
    file.write_text("CUT_A=a long value\nCUT_B=x\nCUT_C=another long value\n")
    file.chmod(0o600)

    done = user("secret", "import", file, code=6)

    assert "set: CUT_A; not set, or unknown: CUT_B, CUT_C" in done.stderr
    assert [name in user("secret", "list").stdout for name in ("CUT_A", "CUT_B", "CUT_C")] == [True, False, False]


class _OtherProgram(QuietHandler):
    """Answers every request with an empty object."""

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET


@pytest.mark.parametrize(
    "command",
    [
        "whoami", "token list", "token create a --scope read", "flow get x", "run x", "secret set A -",
        "workspace list", "audit list", "node-types list", "value list", "approve",
    ],
)  # fmt: skip
def test_another_program_that_answers_with_json_is_told_in_a_line(command: str, tmp_path: Path) -> None:
    with serving(HTTPServer(("127.0.0.1", 0), _OtherProgram)) as url:
        environment = {"FLOWRUNNER_URL": url, "FLOWRUNNER_TOKEN": "t"}
        done = flowrunner(*command.split(), at=tmp_path, stdin="a secret value", environment=environment)

    assert "Traceback" not in done.stderr
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == f"flowrunner: {url} answers, but not as FlowRunner does"


class _ForgetfulProxy(QuietHandler):
    """Passes requests on to a server, and its answers back without `X-Request-Id`."""

    server: "_ProxyServer"

    def do_GET(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith(self.server.closed):
            self.send_error(500)
            return
        connection = HTTPConnection(self.server.target)
        connection.request(self.command, self.path, content or None, dict(self.headers))
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("x-request-id", "content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        connection.close()

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET


class _ProxyServer(HTTPServer):
    """Attributes: closed: End of the path that is answered with status 500."""

    target = ""
    closed = "/nothing"


@pytest.mark.parametrize("closed", ["/nothing", "/auth/methods"])
def test_a_proxy_that_drops_the_id_of_requests_is_no_other_program(user: User, closed: str) -> None:
    proxy = _ProxyServer(("127.0.0.1", 0), _ForgetfulProxy)
    proxy.target, proxy.closed = user.client.url.removeprefix("http://"), closed
    with serving(proxy) as url:
        user("value", "set", "THROUGH_A_PROXY", "1", "--url", url)
        assert user.json("value", "get", "THROUGH_A_PROXY", "--url", url)["value"] == 1

    user("value", "delete", "THROUGH_A_PROXY", "--yes")


def test_requests_to_a_webhook_are_listed_replayed_and_forwarded(user: User, triggered: str) -> None:
    url = user.json("trigger", "get", "triggered/push")["url"].removeprefix(user.client.url)
    wrong = user("trigger", "listen", "triggered/morning", code=6).stderr
    assert "is a trigger of type schedule: only a webhook gets requests" in wrong
    with serving(HTTPServer(("127.0.0.1", 0), _Sink)) as sink:
        listening = start_flowrunner(
            "trigger", "listen", "triggered/push", "--forward", f"{sink}/hook?version=2",
            at=user.home, environment=user.environment,
        )  # fmt: skip
        assert listening.stderr is not None
        assert "Listening" in listening.stderr.readline()

        assert user.client.post(f"{url}?a=1", {"order": 7}).status == 202
        assert "Forwarded: 204" in listening.stderr.readline()
        assert user.client.post(f"{url}?a=1", {"order": 8}).status == 202
        assert "Forwarded: 204" in listening.stderr.readline()
        listening.send_signal(signal.SIGINT)
        printed, _ = listening.communicate(timeout=60)
        assert listening.returncode == 130
    line = r"\d\d:\d\d:\d\d\.\d{3}  hook-\w+  started  exec-\w+  \d+ B"
    assert re.fullmatch(f"{line}\n{line}\n", printed)

    assert _Sink.received == [("/hook?version=2&a=1", b'{"order": %d}' % order) for order in (7, 8)]
    delivery, _ = user.json("trigger", "deliveries", "triggered/push")
    assert user.json("trigger", "replay", "triggered/push", delivery["id"][:-5])["started"]
    unknown = user("trigger", "replay", "triggered/push", "nothing", code=5).stderr
    assert "'flowrunner trigger deliveries' shows them" in unknown
    user("trigger", "listen", "triggered/push", "--forward", "file:///etc/passwd", code=2)


def test_refused_requests_to_a_webhook_are_listed_with_their_reasons(user: User) -> None:
    document = """
metadata: {name: guarded}
triggers: {push: {type: webhook, verify: {scheme: token, header: X-Token, secret: "${secrets.MISSING}"}}}
nodes: {a: {type: return}}
"""
    user("flow", "create", "-", stdin=document)
    url = user.json("trigger", "get", "guarded/push")["url"]
    assert Client(user.client.url).request("POST", url, b"1", {"X-Token": "a-guess"}).status == 404

    said, reason, *more = user("trigger", "deliveries", "guarded/push").stderr.splitlines()

    assert said == "1 request was rejected; the last reasons:"
    assert "The secret of the trigger does not exist" in reason
    assert more == ["No request was accepted yet: 'flowrunner trigger get' prints the URL"]


def test_a_listener_sees_each_message_once_whatever_id_its_sender_has_given_to_it(user: User) -> None:
    secret = "whsec_" + "c2VjcmV0" * 4
    user.client.new_secret("HOOK", secret)
    user(
        "flow",
        "create",
        "-",
        stdin="""
metadata: {name: signed}
triggers: {push: {type: webhook, verify: {scheme: standard, secret: "${secrets.HOOK}"}}}
nodes: {a: {type: return}}
""",
    )
    trigger = user.json("trigger", "get", "signed/push")

    def new(number: int) -> int:
        headers = signature(secret, f"msg_{number}", str(int(time.time())), b"1")
        assert Client(user.client.url).request("POST", trigger["url"], b"1", dict(headers)).status == 202
        listed = user.client.get(f"/api/v1/triggers/{trigger['id']}/deliveries").json["deliveries"]
        return len(unseen(listed, seen))

    seen: set[str] = set()
    assert [new(number) for number in range(8)] == [1] * 8


def test_a_listener_sees_all_of_many_messages_and_none_from_before_it() -> None:
    def listed(until: int) -> Iterator[Mapping[str, str]]:
        return ({"id": f"hook-{n}"} for n in range(until, -1, -1))

    seen = {f"hook-{n}" for n in range(200, 300)}

    assert [one["id"] for one in unseen(listed(900), seen)] == [f"hook-{n}" for n in range(300, 901)]
    assert unseen(listed(900), seen) == []


# Callbacks


def test_callbacks_are_created_tried_and_deleted(user: User, receiver: Receiver) -> None:
    made = user.json("callback", "create", f"{receiver.url}/ok", "--event", "execution.failed", "--name", "alerts")
    assert made["secret"].startswith("whsec_")

    assert user.json("callback", "test", "alerts")["state"] == "delivered"
    [delivery] = user.json("callback", "deliveries", "alerts")
    assert user.json("callback", "redeliver", made["id"][:-2], delivery["id"])["callback_id"] == made["id"]
    assert "whsec_" not in user("callback", "list", "-o", "json").stdout
    asked = user("callback", "delete", "alerts", code=2).stderr
    assert asked.startswith("flowrunner: Delete the callback 'alerts'"), "no usage before what is missing"
    user("callback", "delete", "alerts", "--yes")
    assert user("callback", "list", "-o", "json").stdout == "[]\n"


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ('{"text": "${event.text}"}', {"text": "${event.text}"}),
        ('["${event.type}"]', ["${event.type}"]),
        ('{"text": ${event.text}}', '{"text": ${event.text}}'),
        ("404", "404"),
    ],
)
def test_a_template_of_a_callback_is_json_or_a_text(user: User, tmp_path: Path, text: str, template: Any) -> None:
    (tmp_path / "t").write_text(text)
    more = ["--format", "template", "--event", "execution.failed", "--name", "made"]

    made = user.json("callback", "create", "https://example.com/", *more, "--template", f"@{tmp_path / 't'}")

    assert made["template"] == template
    user("callback", "delete", "made", "--yes")


def test_a_test_of_a_callback_to_a_closed_network_names_the_setting_that_opens_it(user: User) -> None:
    user("callback", "create", "http://10.255.255.1/", "--event", "execution.failed", "--name", "closed")

    tested = user("callback", "test", "closed", code=1)
    assert "egress.forbidden" in tested.stdout
    assert "egress_allow" in tested.stderr
    user("callback", "delete", "closed", "--yes")


# Workspaces, accounts and tokens


def test_a_workspace_has_members_and_is_used_from_a_context(user: User, root: User) -> None:
    other = root.client.new_account()
    slug = f"ops-{uuid4().hex[:12]}"
    user("workspace", "create", "Operations", "--slug", slug)

    assert slug in user("workspace", "list", "-o", "name").stdout
    assert user.json("workspace", "members", "add", slug, other.email, "viewer")["role"] == "viewer"
    assert user.json("workspace", "members", "set", slug, other.email, "editor")["role"] == "editor"
    again = user("workspace", "members", "set", slug, other.email, "editor", "-o", "name").stdout
    assert again == f"{user.json('workspace', 'members', 'list', slug)[1]['account_id']}\n"
    assert [one["role"] for one in user.json("workspace", "members", "list", slug)] == ["admin", "editor"]
    user("workspace", "members", "remove", slug, other.email, "-y")
    gone = user("workspace", "members", "remove", slug, other.email, "-y", code=5).stderr
    assert "'flowrunner workspace members list WORKSPACE' shows them" in gone
    unknown = user("workspace", "members", "add", slug, "nobody@example.com", "viewer", code=5).stderr
    assert "hint: the person needs an account whose address is confirmed" in unknown
    assert "'flowrunner account update ACCOUNT --email-confirmed'" in unknown
    assert "there is no context" in user("workspace", "use", slug, code=2).stderr
    nothing = {"FLOWRUNNER_TOKEN": "", "FLOWRUNNER_URL": ""}
    user("login", user.client.url, "--username", user.client.email, stdin=PASSWORD, environment=nothing)
    [id] = [one["id"] for one in user.json("workspace", "list") if one["slug"] == slug]
    for named in (slug, id):
        user("workspace", "use", named, environment=nothing)
        assert user.json("whoami", environment=nothing)["workspace"]["slug"] == slug
        assert f"'{slug}'" in user("context", "list", "-o", "json", environment=nothing).stdout.replace('"', "'")
    assert user("whoami", environment=nothing).stdout.splitlines()[-1].split() == ["workspace.role", "admin"]
    assert user.json("audit", "list", environment=nothing)[0]["action"] == "member.removed"

    invited = f"kim-{uuid4().hex[:12]}@example.com"
    made = user.json("workspace", "invite", slug, invited, "operator", "--expires-in", "3d", environment=nothing)
    assert (made["email"], made["role"]) == (invited, "operator")
    assert made["link"].startswith(f"{user.client.url}/invitation#")
    [listed] = user.json("workspace", "invitations", "list", slug, environment=nothing)
    assert (listed["id"], "link" in listed) == (made["id"], False)
    user("workspace", "invitations", "revoke", slug, invited, code=2, environment=nothing)
    user("workspace", "invitations", "revoke", slug, invited, "-y", environment=nothing)
    assert user.json("workspace", "invitations", "list", slug, environment=nothing) == []
    user("workspace", "invitations", "revoke", slug, invited, "-y", code=5, environment=nothing)
    user("logout", environment=nothing)


def test_admins_manage_accounts(root: User, user: User) -> None:
    email = f"new-{uuid4().hex[:12]}@example.com"
    made = root.json("account", "create", email, "--name", "New", stdin=f"{PASSWORD}\n")
    assert (made["email"], made["role"]) == (email, "user")

    assert root.json("account", "update", email, "--role", "viewer", "--disable")["disabled"]
    assert root.json("account", "get", made["id"][:-3])["role"] == "viewer"
    assert root.json("account", "update", made["id"], "--name", "Newer")["name"] == "Newer"
    assert email in root("account", "list", "--role", "viewer", "--all").stdout
    root("account", "update", email, code=2)
    root("account", "delete", email, code=2)
    root("account", "delete", email, "--keep-workspace", "--delete-workspace", "-y", code=2)
    root("account", "delete", email, "--delete-workspace", "-y")
    assert user("account", "list", code=4).stderr.startswith("flowrunner: ")
    assert user.json("account", "get")["email"] == user.client.email
    owner = root.client.new_account()
    owner.new_flow("metadata: {name: N}\nnodes: {n: {type: transform, params: {value: 1}}}\n")
    kept = root("account", "delete", owner.email, "-y", code=6).stderr
    assert "(flows: 1, other members: 0)" in kept
    assert "repeat the command with --delete-workspace" in kept


def test_an_admin_confirms_the_address_by_which_the_account_is_named(root: User) -> None:
    made = root.json("account", "create", "claims@example.com", "--name", "C", stdin=PASSWORD)

    unnamed = root("account", "update", made["id"], "--email-confirmed", code=2).stderr
    confirmed = root.json("account", "update", "claims@example.com", "--email-confirmed")

    assert "Name the confirmed address" in unnamed
    assert [made["email_confirmed"], confirmed["email_confirmed"]] == [False, True]


def test_a_password_is_changed(root: User, tmp_path: Path) -> None:
    other = User(root.client.new_account(), tmp_path)

    assert "log in again" in other("account", "password", stdin=f"{PASSWORD}\nnine-quiet-herons\n").stderr
    other("account", "get", code=4)
    other.client.login(other.client.email, "nine-quiet-herons")


def test_tokens_are_created_used_and_revoked(user: User) -> None:
    token = user.json("token", "create", "deploy", "--scope", "read", "--expires-in", "1d", "--fields", "token")[
        "token"
    ]
    theirs = {"FLOWRUNNER_TOKEN": token}

    assert user("flow", "list", environment=theirs).returncode == 0
    assert "token" in user("secret", "set", "A", stdin=VALUE, environment=theirs, code=4).stderr
    assert token not in user("token", "list", "-o", "json").stdout
    user("token", "revoke", "deploy", "-y")
    user("flow", "list", environment=theirs, code=4)


def test_the_audit_log_is_listed(root: User) -> None:
    root("workspace", "create", "Audited", "--slug", "audited")
    entries = root.json("audit", "list", "--since", "1h", "-n", "3", "--outcome", "done")

    assert len(entries) == 3
    assert root("audit", "list", "-n", "1").stdout.split()[:4] == ["SEQ", "AT", "ACTOR", "ACTION"]
    theirs = {"FLOWRUNNER_WORKSPACE": "audited"}
    assert root.json("audit", "list", "--action", "account.created", environment=theirs) == []
    assert root.json("audit", "list", "--action", "account.created", "--installation", environment=theirs)
    whole = root("audit", "list", "--installation", "--all", "-o", "ndjson", environment=theirs).stdout
    assert " are intact. The last is " in root("audit", "verify", "--file", "-", stdin=whole).stdout


# The rest


def test_the_names_of_the_old_guide_are_understood(user: User) -> None:
    old = {"FLOWRUNNER_URL": "", "FLOWRUNNER_SERVER": user.client.url}

    assert user.json("whoami", environment=old)["url"] == user.client.url
    assert user("flow", "list", "--server", "http://127.0.0.1:1", code=7, environment=old)


@pytest.mark.parametrize(
    "arguments",
    [("flow", "get", "\udcff"), ("secret", "delete", "..", "-y"), ("flow", "list", "--workspace", "a\nb"),
     ("approve", f"exec-{'0' * 36}", ".."), ("flow", "list", "--token", "a b")],
)  # fmt: skip
def test_what_no_request_can_have_is_wrong_use(arguments: tuple[str, ...], user: User) -> None:
    done = user(*arguments, code=2)

    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_node_types_and_packages_are_looked_up(user: User) -> None:
    assert "http.request" in user("node-types", "list", "-o", "name").stdout
    assert user.json("node-types", "describe", "http.request")["name"] == "http.request"
    assert "no node type" in user("node-types", "describe", "http", code=5).stderr
    user("plugin", "list")


def test_a_package_whose_node_type_cannot_be_used_is_listed_with_the_reason(tmp_path: Path) -> None:
    information = tmp_path / "broken-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Name: broken\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[flowrunner.nodes]\nbroken = broken_types:Broken\n")
    (tmp_path / "broken_types.py").write_text("await nothing\n")

    done = flowrunner("plugin", "list", at=tmp_path)

    assert done.returncode == 0
    assert done.stdout.split() == ["NAME", "PACKAGE", "VERSION", "broken", "broken", "1.0"]
    assert "The node type 'broken' (broken_types:Broken) cannot be used: SyntaxError" in done.stderr


def test_any_request_can_be_sent(user: User) -> None:
    assert json.loads(user("api", "GET", "/flows", "-p", "limit=1").stdout)["limit"] == 1
    assert json.loads(user("api", "get", "/api/v1/flows?limit=2").stdout)["limit"] == 2
    (user.home / "flow.yaml").write_text("nodes:\n  a: {type: return}\n")
    left, right = ("--tag", "left"), ("--tag", "right")
    for name, tags in (("one", left), ("other", right), ("both", (*left, *right))):
        user("flow", "create", "flow.yaml", "--name", name, *tags)
    found = json.loads(user("api", "GET", "/flows", "-p", "tag=left", "-p", "tag=right").stdout)["flows"]
    assert [flow["name"] for flow in found] == ["both"]
    assert user("flow", "list", *left, *right, "-o", "name").stdout.split() == [found[0]["id"]]
    checked = user("api", "POST", "/flows/validate", "-i", "@flow.yaml", "--content-type", "application/yaml")
    assert json.loads(checked.stdout)["is_valid"]
    assert user("api", "POST", "/flows", "-i", '{"definition": ""}', code=6).stdout == ""
    assert user("api", "GET", "/healthz").stdout
    user("api", "GET", "/nothing", code=5)
    user("api", "GET", "//example.com/", code=2)
    user("api", "GET", "/flows", "-H", "X-A: a\r\nX-B: b", code=2)
    for option, given in (("-H", "X-A"), ("-H", ": a"), ("-p", "tag"), ("-p", "=left")):
        assert (
            f"a name and a value, with '{':' if option == '-H' else '='}' between them"
            in user("api", "GET", "/flows", option, given, code=2).stderr
        )
    user("api", "PATCH", "/flows", code=2)


def test_the_interface_is_opened(user: User, triggered: str) -> None:
    flow = user("flow", "get", triggered, "-o", "name").stdout.strip()

    address = user("open", "triggered", "--no-browser").stdout.strip()
    assert address.startswith(f"{user.client.url}/w/")
    assert address.endswith(f"/flows/{flow}")
    assert user("open", "approvals", "--no-browser").stdout.endswith("/approvals\n")


def test_shells_complete_names_of_the_server_from_a_cache(user: User, triggered: str) -> None:
    user("flow", "create", "-", "--name", "trig $(touch owned)", stdin="nodes:\n  a: {type: return}\n")
    words = {"COMP_WORDS": "flowrunner run trig", "COMP_CWORD": "2", "_FLOWRUNNER_COMPLETE": "bash_complete"}

    for environment in (words, {**words, "FLOWRUNNER_URL": user.client.url}):
        assert user(environment=environment).stdout == "plain,triggered\n"
    [file] = (user.home / ".cache" / "flowrunner" / "completion").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert "triggered" in file.read_text()
    # What one workspace has is offered in no other one.
    assert user(environment={**words, "FLOWRUNNER_WORKSPACE": "nowhere"}).stdout.strip() == ""
    # Without a server there is nothing to complete, and nothing to say.
    silent = user(environment={**words, "FLOWRUNNER_URL": "http://127.0.0.1:1"})
    assert (silent.stdout.strip(), silent.stderr) == ("", "")
    words |= {"COMP_WORDS": "flowrunner --token x run trig", "COMP_CWORD": "4"}
    assert user(environment=words).stderr == "", "a warning would stand in the command that is typed"
    # The standard input is the terminal.
    words |= {"COMP_WORDS": "flowrunner --token - run trig"}
    assert user(environment=words, stdin=user.client.token).stdout.strip() == ""
    words |= {"COMP_WORDS": "flowrunner trigger get triggered/m", "COMP_CWORD": "3"}
    assert user(environment=words).stdout == "plain,triggered/morning\n"
    user("context", "add", "staging", "--url", user.client.url)
    words |= {"COMP_WORDS": "flowrunner context use st"}
    assert user(environment=words).stdout == "plain,staging\n"
    user("context", "remove", "staging")
    for shell in ("bash", "zsh", "fish"):
        assert "_FLOWRUNNER_COMPLETE" in user("completion", shell).stdout


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("rerun --flow trigg", "triggered"), ("signal paid --flow trigg", "triggered"),
        ("executions list --status fa", "failed"), ("cancel --trigger triggered/m", "triggered/morning"),
        ("flow list --context stag", "staging"),
    ],
)  # fmt: skip
def test_shells_complete_the_values_of_options(user: User, triggered: str, line: str, completed: str) -> None:
    user("context", "add", "staging", "--url", user.client.url)
    words = {"COMP_WORDS": f"flowrunner {line}", "COMP_CWORD": f"{len(line.split())}"}

    done = user(environment={**words, "_FLOWRUNNER_COMPLETE": "bash_complete"})

    assert done.stdout == f"plain,{completed}\n"


def test_words_and_wide_characters_align(user: User) -> None:
    user("flow", "create", "-", "--name", "日本語", stdin="nodes:\n  a: {type: return}\n")
    user("flow", "create", "-", "--name", "sixsix", stdin="nodes:\n  a: {type: return}\n")

    wide, narrow = (
        user("flow", "list", "--search", name, "--fields", "name,revision").stdout.splitlines()[1]
        for name in ("日本語", "sixsix")
    )
    assert (wide, narrow) == ("日本語  1", "sixsix  1")


def test_a_query_selects_from_the_json(user: User, triggered: str) -> None:
    assert user("flow", "list", "--query", "[?name=='triggered'].name | [0]").stdout == '"triggered"\n'
    assert user("flow", "list", "--query", "[?name=='triggered'].name", "-o", "name").stdout == "triggered\n"
    assert user("flow", "list", "--query", "[", code=2).stdout == ""
    assert "triggered" in on_a_terminal("flow", "list", "-o", "yaml", at=user.home, environment=user.environment)


# Configuration values


def test_a_configuration_value_is_json_or_text(user: User) -> None:
    (user.home / "hosts.json").write_text('["a.example", "b.example"]\n')
    for name, given, value in (
        ("TEXT", "#orders", "#orders"),
        ("NUMBER", "500", 500),
        ("NEGATIVE", "-5", -5),
        ("QUOTED", '"500"', "500"),
        ("LIST", "@hosts.json", ["a.example", "b.example"]),
    ):
        assert user.json("value", "set", name, given)["value"] == value
    assert user.json("value", "set", "STDIN", "-", stdin="a line\n")["value"] == "a line"

    assert user("value", "get", "NUMBER", "--query", "value").stdout == "500\n"
    assert {one["name"] for one in user.json("value", "list")} == {
        "TEXT",
        "NUMBER",
        "NEGATIVE",
        "QUOTED",
        "LIST",
        "STDIN",
    }
    user("value", "set", "EMPTY", "null", code=6)
    user("value", "delete", "TEXT", code=2)
    user("value", "delete", "TEXT", "--yes")
    user("value", "get", "TEXT", code=5)


def test_the_values_of_a_file_are_set_and_only_changed_ones_are_asked_about(user: User) -> None:
    (user.home / "staging.yaml").write_text("SITE: staging\nLIMITS: {low: 1, high: [2, 3]}\n")
    assert user.json("value", "import", "staging.yaml") == [
        {"name": "SITE", "action": "created"}, {"name": "LIMITS", "action": "created"},
    ]  # fmt: skip
    user("value", "set", "SITE", "other")

    user("value", "import", "staging.yaml", code=2)
    done = user.json("value", "import", "staging.yaml", "--yes")

    assert [one["action"] for one in done] == ["replaced", "unchanged"]
    assert user.json("value", "get", "SITE")["value"] == "staging"
    (user.home / "list.yaml").write_text("- 1\n")
    assert "list.yaml must be a map of names and values" in user("value", "import", "list.yaml", code=2).stderr


@pytest.mark.parametrize(("before", "after"), [(True, 1), (1, True), (1, 1.0), ([0], [False])])
def test_values_that_python_takes_for_equal_are_replaced(user: User, before: Any, after: Any) -> None:
    user("value", "set", "SWITCH", json.dumps(before))
    (user.home / "switch.json").write_text(json.dumps({"SWITCH": after}))

    user("value", "import", "switch.json", "--yes")

    assert repr(user.json("value", "get", "SWITCH")["value"]) == repr(after)


LISTED = {"config": [{"name": "OLD", "value": 1}], "total": 1}
CHANGED = {"error": {"code": "precondition_failed", "message": "The configuration value has changed since"}}


def test_an_import_changes_no_value_that_somebody_else_has_changed_and_names_those_that_it_has_set(user: User) -> None:
    (user.home / "values.yaml").write_text("NEW: 1\nOLD: 2\nLAST: 3\n")
    read = answer(200, {"name": "OLD", "value": 1}, ETag='"1.1"')
    with scripted(answer(200, LISTED), read, answer(201, {}), answer(412, CHANGED)) as server:
        done = user("value", "import", "values.yaml", "--yes", "--url", server.url, code=6)

        assert (server.header(2, "If-None-Match"), server.header(3, "If-Match")) == ("*", '"1.1"')
    assert "warning: set: NEW; not set, or unknown: OLD, LAST\n" in done.stderr


def test_a_file_after_which_a_workspace_had_too_many_values_sets_none(user: User) -> None:
    (user.home / "many.yaml").write_text("".join(f"V{number}: 1\n" for number in range(200)))
    (user.home / "long.yaml").write_text("".join(f"V{number}: {'x' * 8000}\n" for number in range(9)))
    with scripted(answer(200, LISTED), answer(200, LISTED)) as server:
        many = user("value", "import", "many.yaml", "--yes", "--url", server.url, code=2)
        long = user("value", "import", "long.yaml", "--yes", "--url", server.url, code=2)

    assert many.stderr.endswith("many.yaml: the workspace would have 201 values, and may have 200\n")
    assert "would have 72019 characters of JSON together, and may have 65536\n" in long.stderr


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (f"BIG: {'x' * 8191}", "the value of 'BIG' must have at most 8192 characters of JSON, and has 8193"),
        ("NONE: null", "the value of 'NONE' must not be null\n"),
        ('"a name": 1', "the name of 'a name' must be 1 to 128 letters"),
    ],
)
def test_a_file_with_a_value_that_no_workspace_can_have_sets_none_of_its_values(
    user: User, written: str, said: str
) -> None:
    (user.home / "faulty.yaml").write_text(f"BEFORE_THE_FAULT: 1\n{written}\n")

    assert said in user("value", "import", "faulty.yaml", "--yes", code=2).stderr
    user("value", "get", "BEFORE_THE_FAULT", code=5)


def test_values_that_a_saved_or_deployed_flow_lacks_are_named(user: User) -> None:
    document = "metadata: {name: lacking}\nnodes:\n  a: {type: return, params: {value: '${config.GONE}'}}\n"
    (user.home / "lacking.yaml").write_text(document)

    created = user("flow", "create", "lacking.yaml").stderr
    applied = user("apply", "lacking.yaml").stderr

    assert "there is no configuration value 'GONE', which the flow reads" in created
    assert "flowrunner: warning: there is no configuration value 'GONE', which 'lacking' reads\n" in applied


def test_a_local_run_reads_the_values_of_a_file(user: User) -> None:
    (user.home / "reads.yaml").write_text("nodes:\n  a: {type: return, params: {value: '${config.SITE}'}}\n")
    (user.home / "values.yaml").write_text("SITE: staging\n")

    assert user("run", "--local", "reads.yaml", "-q", "--values", "values.yaml").stdout == '"staging"\n'
    without = user("run", "--local", "reads.yaml", "-q", code=3).stderr
    assert "there is no configuration value 'SITE'" in without
    assert "there was no configuration value 'SITE' at the start" in without


def test_a_token_with_the_name_of_another_is_told(user: User) -> None:
    assert user("token", "create", "twice", "--scope", "read").stderr == ""
    assert "there is another token called 'twice'" in user("token", "create", "twice", "--scope", "read").stderr


def test_a_context_that_does_not_exist_is_not_found(user: User) -> None:
    for command in ("use", "remove"):
        assert "There is no context 'nowhere'" in user("context", command, "nowhere", code=5).stderr
