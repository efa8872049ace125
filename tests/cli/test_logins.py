"""Logins, contexts and where a token goes."""

import fcntl
import http.client
import io
import json
import os
import queue
import socket
import ssl
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs, urlencode, urlsplit

import click
import pytest

from cli.command import flowrunner, on_a_terminal, start_flowrunner
from client.scripted import answer, scripted
from flowrunner.cli.browser_login import _first_that_works, log_in_by_browser
from flowrunner.cli.common import CommandFailed, common
from flowrunner.cli.connection import Target, find_target, refreshed
from flowrunner.cli.contexts import Context, Contexts, load_contexts
from flowrunner.cli.main import main
from flowrunner.client import Client as HttpClient
from support.client import PASSWORD, Client
from support.codes import code_of
from support.tls import Issuer
from support.waiting import PATIENCE_SECONDS

TESTS = Path(__file__).parents[1]


def contexts_file(home: Path) -> Path:
    return home / ".config" / "flowrunner" / "contexts.json"


def log_in(account: Client, home: Path, *more: str) -> str:
    done = flowrunner("login", account.url, "--username", account.email, *more, at=home, stdin=f"{PASSWORD}\n")
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_codes_of_others_do_not_lengthen_the_wait_for_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    now, waits = 0.0, list[float]()

    class Codes(queue.Queue[str]):
        """Another code every two minutes."""

        def get(self, block: bool = True, timeout: float | None = None) -> str:
            nonlocal now
            assert timeout is not None
            waits.append(timeout)
            now += min(timeout, 120.0)
            if timeout < 120.0:
                raise queue.Empty
            return "code"

    monkeypatch.setattr("flowrunner.cli.browser_login.time", SimpleNamespace(monotonic=lambda: now))
    refused = {"error": {"code": "unauthorized", "message": "m"}}
    with scripted(*[answer(401, refused)] * 2) as server, HttpClient(server.url, retry_seconds=0) as client:
        with click.Context(click.Command("login")), pytest.raises(CommandFailed, match="in time"):
            _first_that_works(client, Codes(), "verifier")

    assert waits == [300.0, 180.0, 60.0]


def test_a_login_is_kept_where_only_the_user_can_read_it(account: Client, tmp_path: Path) -> None:
    said = log_in(account, tmp_path)

    file = contexts_file(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert PASSWORD not in file.read_text()
    assert f"as {account.email}" in said
    who = flowrunner("whoami", "-o", "json", at=tmp_path)
    assert json.loads(who.stdout)["account"]["email"] == account.email
    shown = dict(line.split(maxsplit=1) for line in flowrunner("whoami", at=tmp_path).stdout.splitlines())
    assert (shown["account.email"], shown["url"]) == (account.email, account.url)
    assert (shown["workspace.name"], shown["workspace.role"]) == (shown["account.name"], "admin")


def test_the_workspace_of_a_token_is_the_current_one(account: Client, tmp_path: Path) -> None:
    log_in(account, tmp_path)
    shared = account.post("/api/v1/workspaces", {"name": "Shared"}).json["id"]
    made = flowrunner("token", "create", "t", "--scope", "read", "--workspace", shared, "-o", "json", at=tmp_path)
    token = json.loads(made.stdout)["token"]
    variables = {"FLOWRUNNER_URL": account.url, "FLOWRUNNER_TOKEN": token}

    who = flowrunner("whoami", "-o", "json", at=tmp_path, environment=variables)

    assert json.loads(who.stdout)["workspace"]["name"] == "Shared", who.stderr


def test_a_logout_ends_the_login_on_the_server_too(account: Client, tmp_path: Path) -> None:
    log_in(account, tmp_path)
    [context] = json.loads(contexts_file(tmp_path).read_text())["contexts"].values()

    assert flowrunner("logout", at=tmp_path).returncode == 0

    assert Client(account.url, context["token"]).get("/api/v1/flows").status == 401
    assert context["token"] not in contexts_file(tmp_path).read_text()
    assert flowrunner("whoami", at=tmp_path).returncode == 4


def test_an_api_token_comes_from_the_standard_input(account: Client, tmp_path: Path) -> None:
    body = {"name": "cli", "scopes": ["read"]}
    token = account.post("/api/v1/tokens", body).json["token"]

    done = flowrunner("login", account.url, "--with-token", "--name", "here", at=tmp_path, stdin=f"{token}\n")

    assert done.returncode == 0
    assert token not in done.stdout + done.stderr
    listed = json.loads(flowrunner("context", "list", "-o", "json", at=tmp_path).stdout)
    assert listed == [
        {"name": "here", "is_current": True, "url": account.url, "workspace": None, "account": account.email,
         "is_logged_in": True}
    ]  # fmt: skip


@pytest.mark.parametrize(("stdin", "code"), [("wrong\n", 4), ("", 4)])
def test_a_wrong_password_stores_nothing(stdin: str, code: int, account: Client, tmp_path: Path) -> None:
    done = flowrunner("login", account.url, "--username", account.email, at=tmp_path, stdin=stdin)

    assert done.returncode in (code, 6)
    assert not contexts_file(tmp_path).exists()


def test_a_second_factor_is_the_second_line(admin: Client, tmp_path: Path) -> None:
    account = admin.new_account()
    factor = account.post("/api/v1/second-factors/totp", {}).json
    confirmed = account.post(f"/api/v1/second-factors/{factor['id']}/confirm", {"code": code_of(factor["secret"])})
    recovery = confirmed.json["recovery_codes"][0]
    given = ("login", account.url, "--username", account.email)

    without = flowrunner(*given, at=tmp_path, stdin=PASSWORD)
    wrong = flowrunner(*given, at=tmp_path, stdin=f"{PASSWORD}\n000000")
    assert (without.returncode, wrong.returncode) == (4, 4)
    assert "second line" in without.stderr
    assert not contexts_file(tmp_path).exists()
    assert flowrunner(*given, at=tmp_path, stdin=f"{PASSWORD}\n{recovery}\n").returncode == 0
    assert flowrunner("whoami", at=tmp_path).returncode == 0


def test_a_token_goes_to_no_other_server(account: Client, tmp_path: Path) -> None:
    log_in(account, tmp_path)
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as other:

        def hear() -> None:
            connection, _ = other.accept()
            with connection:
                heard.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=hear)
        thread.start()
        done = flowrunner("whoami", "--url", f"http://127.0.0.1:{other.getsockname()[1]}", at=tmp_path)
        thread.join(30)

    assert done.returncode == 4
    assert "flowrunner login" in done.stderr
    assert b"authorization" not in heard[0].lower()


def test_a_named_context_does_not_get_the_token_of_the_environment(account: Client, tmp_path: Path) -> None:
    flowrunner("context", "add", "mine", "--url", account.url, at=tmp_path)
    variables = {"FLOWRUNNER_TOKEN": account.token or ""}

    assert flowrunner("whoami", "--context", "mine", at=tmp_path, environment=variables).returncode == 4
    assert flowrunner("whoami", at=tmp_path, environment=variables).returncode == 0


def test_a_token_in_an_argument_is_warned_about(account: Client, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{account.token}\n")
    token = account.token or ""

    seen = flowrunner("--url", account.url, "whoami", "--token", token, at=tmp_path)
    unseen = flowrunner("--url", account.url, "--token", "@token", "whoami", at=tmp_path)
    piped = flowrunner("--server", account.url, "whoami", "--token", "-", at=tmp_path, stdin=token)

    assert (seen.returncode, unseen.returncode, piped.returncode) == (0, 0, 0)
    assert "warning: other users can see arguments" in seen.stderr
    assert unseen.stderr == piped.stderr == ""


def test_ctrl_c_at_a_prompt_is_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # On a real terminal, one that is pressed just before the prompt reads is only noticed with the next key.
    def press_ctrl_c(_: str) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("click.termui.hidden_prompt_func", press_ctrl_c)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    with pytest.raises(SystemExit) as ended:
        main(["login", "http://127.0.0.1:9", "--username", "ada@example.com"])

    assert ended.value.code == 130
    assert capsys.readouterr().err.endswith("\nflowrunner: interrupted\n")


def test_a_token_that_is_empty_is_not_replaced_by_the_stored_one(account: Client, tmp_path: Path) -> None:
    log_in(account, tmp_path)
    (tmp_path / "token").write_text("\n")
    variable = {"FLOWRUNNER_TOKEN_FILE": "token"}

    for done, place in (
        (flowrunner("whoami", "--token", "@token", at=tmp_path), "in token"),
        (flowrunner("whoami", at=tmp_path, environment=variable), "in token"),
        (flowrunner("whoami", "--token", "-", at=tmp_path, stdin=""), "on the standard input"),
        (flowrunner("whoami", "--token", " ", at=tmp_path), "in --token"),
    ):
        assert done.returncode == 2
        assert f"There is no token {place}" in done.stderr


def test_a_file_that_others_can_read_is_not_used(account: Client, tmp_path: Path) -> None:
    log_in(account, tmp_path)
    for mode in (0o640, 0o604):
        contexts_file(tmp_path).chmod(mode)

        done = flowrunner("whoami", at=tmp_path)

        assert done.returncode == 2
        assert "chmod 600" in done.stderr


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"current": 1, "contexts": []}', '{"contexts": {"a": 1}}', "\xff"])
def test_a_broken_file_of_contexts_is_reported(text: str, tmp_path: Path) -> None:
    contexts_file(tmp_path).parent.mkdir(parents=True)
    contexts_file(tmp_path).write_text(text, encoding="latin-1")
    contexts_file(tmp_path).chmod(0o600)

    done = flowrunner("context", "list", at=tmp_path)

    assert done.returncode == 2
    assert "is not a file of contexts" in done.stderr


def test_contexts_are_on_the_disk_before_they_take_the_place_of_the_old_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    first, second = (Contexts(name, {name: Context(url="https://flows.example.com")}) for name in ("first", "second"))
    first.save()
    found: list[tuple[str, bytes]] = []
    sync = os.fsync

    def synced(descriptor: int) -> None:
        sync(descriptor)
        current = load_contexts().current or ""
        found.append((current, Path(f"/proc/self/fd/{descriptor}").read_bytes()))

    monkeypatch.setattr(os, "fsync", synced)

    second.save()

    assert found == [("first", contexts_file(tmp_path).read_bytes())]
    assert load_contexts() == second


def test_contexts_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / ".config").write_text("")

    done = flowrunner("context", "add", "a", "--url", "http://127.0.0.1:1", at=tmp_path)

    assert done.returncode == 2
    assert ".config/flowrunner/contexts.lock cannot be written: Not a directory" in done.stderr


def test_what_follows_a_token_on_the_standard_input_is_left_to_the_command(account: Client, tmp_path: Path) -> None:
    document = "nodes: {a: {type: return, params: {value: '${secrets.KEY}'}}}"
    commands: tuple[tuple[tuple[str, ...], str], ...] = (
        (("api", "POST", "/flows/validate", "-i", "-", "--content-type", "application/yaml"), document),
        (("secret", "set", "KEY"), "a-value-of-some-length"),
        (("flow", "create", "-", "--name", "f"), document),
        (("flow", "update", "f", "-"), document.replace("'", "'of ", 1)),
        (("run", "f", "-i", "-", "--wait"), "{}"),
    )

    for command, stdin in commands:
        done = flowrunner(
            *command, "--url", account.url, "--token", "-", at=tmp_path, stdin=f"{account.token}\n{stdin}"
        )
        assert (done.returncode, done.stderr) == (0, ""), command
    assert done.stdout == '"of ***"\n'


def test_contexts_are_chosen_and_removed(tmp_path: Path) -> None:
    for name, url in (("one", "http://127.0.0.1:1"), ("two", "https://flows.example.com/")):
        assert flowrunner("context", "add", name, "--url", url, "--workspace", "ops", at=tmp_path).returncode == 0
    assert flowrunner("context", "use", "two", at=tmp_path).returncode == 0

    listed = flowrunner("context", "list", at=tmp_path).stdout.splitlines()
    assert listed[0].split() == ["NAME", "CURRENT", "URL", "WORKSPACE", "ACCOUNT", "LOGIN"]
    assert listed[2].split() == ["two", "yes", "https://flows.example.com", "ops", "-", "no"]
    assert flowrunner("context", "remove", "two", at=tmp_path).returncode == 0
    assert flowrunner("context", "list", "-o", "name", at=tmp_path).stdout == "one\n"
    assert flowrunner("context", "use", "two", at=tmp_path).returncode == 5


@pytest.mark.parametrize("url", ["ftp://a", "flows.example.com", "http://ada:secret@example.com", ""])
def test_an_address_that_is_none_is_refused(url: str, tmp_path: Path) -> None:
    assert flowrunner("context", "add", "a", "--url", url, at=tmp_path).returncode == 2
    assert not contexts_file(tmp_path).exists()


def test_a_server_that_does_not_answer_has_a_code_of_its_own(tmp_path: Path) -> None:
    done = flowrunner("whoami", "--url", "http://127.0.0.1:1", "--http-timeout", "1s", at=tmp_path)

    assert done.returncode == 7
    assert "Cannot connect to http://127.0.0.1:1: Connection refused\n" in done.stderr
    assert "hint: start the server with 'flowrunner serve'" in done.stderr


def test_a_server_without_tls_is_told_from_one_that_is_away(account: Client, tmp_path: Path) -> None:
    done = flowrunner("whoami", "--url", account.url.replace("http://", "https://"), at=tmp_path)

    assert done.returncode == 7
    assert "it does not speak TLS: the URL may have to begin with http://" in done.stderr


def test_a_certificate_that_is_not_trusted_is_explained(tmp_path: Path) -> None:
    issuer = Issuer(tmp_path, "issuer")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*issuer.issue("server", "localhost"))
    with scripted(answer(404), context=context) as server:
        url = f"https://localhost:{server.port}"
        refused = flowrunner("whoami", "--url", url, at=tmp_path)
        trusted = flowrunner("whoami", "--url", url, at=tmp_path, environment={"SSL_CERT_FILE": str(issuer.file)})

    assert refused.returncode == 7
    assert "Cannot connect" in refused.stderr
    assert "hint: if the certificate is that of your server, name the file that has it" in refused.stderr
    assert trusted.returncode == 5, trusted.stderr


def test_after_a_wrong_password_the_hint_is_not_to_log_in(account: Client, tmp_path: Path) -> None:
    done = flowrunner("login", account.url, "--username", account.email, at=tmp_path, stdin="another-password\n")

    assert done.returncode == 4
    assert done.stderr.splitlines()[0] == "flowrunner: The username or the password is wrong"
    assert "flowrunner account reset-password" in done.stderr
    assert "flowrunner login" not in done.stderr


def test_a_login_that_has_lived_for_half_its_time_is_renewed_once(account: Client, tmp_path: Path) -> None:
    log_in(account, tmp_path)
    stored = json.loads(contexts_file(tmp_path).read_text())
    [context] = stored["contexts"].values()
    before = context["token"]
    context["refresh_at"] = time.time() - 1
    contexts_file(tmp_path).write_text(json.dumps(stored))

    # Two commands at a time: a token that is renewed twice ends all logins.
    both = [threading.Thread(target=flowrunner, args=("whoami",), kwargs={"at": tmp_path}) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(60)

    [context] = json.loads(contexts_file(tmp_path).read_text())["contexts"].values()
    assert context["token"] != before
    assert context["refresh_at"] > time.time()
    assert flowrunner("whoami", at=tmp_path).returncode == 0


def test_a_command_takes_the_token_that_another_one_got_while_it_waited(
    account: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log_in(account, tmp_path, "--name", "one")
    stored = json.loads(contexts_file(tmp_path).read_text())
    old = stored["contexts"]["one"]["token"]
    stored["contexts"]["one"]["refresh_at"] = time.time() - 1
    contexts_file(tmp_path).write_text(json.dumps(stored))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    read_before = load_contexts()
    assert flowrunner("whoami", at=tmp_path).returncode == 0
    new = json.loads(contexts_file(tmp_path).read_text())["contexts"]["one"]["token"]

    target = refreshed(Target(url=account.url, token=old, name="one", is_stored=True), read_before)

    assert target.token == new != old
    assert json.loads(contexts_file(tmp_path).read_text())["contexts"]["one"]["token"] == new


def test_a_login_that_waits_keeps_the_tokens_that_other_commands_exchange(account: Client, tmp_path: Path) -> None:
    log_in(account, tmp_path, "--name", "first")
    login = BrowserLogin(account, tmp_path, "--name", "second")
    stored = json.loads(contexts_file(tmp_path).read_text())
    before = stored["contexts"]["first"]["token"]
    stored["contexts"]["first"]["refresh_at"] = time.time() - 1
    contexts_file(tmp_path).write_text(json.dumps(stored))
    assert flowrunner("whoami", "--context", "first", at=tmp_path).returncode == 0

    assert login.hand_over(state=login.asked["state"], code=login.allow()) == 200
    assert login.end()[0] == 0

    stored = json.loads(contexts_file(tmp_path).read_text())
    assert stored["contexts"]["first"]["token"] != before
    assert (stored["current"], sorted(stored["contexts"])) == ("second", ["first", "second"])
    assert flowrunner("whoami", "--context", "first", at=tmp_path).returncode == 0


def test_commands_wait_for_each_other_before_they_change_contexts(account: Client, tmp_path: Path) -> None:
    flowrunner("context", "add", "one", "--url", account.url, at=tmp_path)
    with contexts_file(tmp_path).with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = start_flowrunner("context", "add", "two", "--url", account.url, at=tmp_path)
        with pytest.raises(subprocess.TimeoutExpired):
            command.wait(2)
        stored = json.loads(contexts_file(tmp_path).read_text())
        stored["contexts"]["one"]["token"] = "exchanged"
        contexts_file(tmp_path).write_text(json.dumps(stored))
    command.communicate(timeout=60)

    contexts = json.loads(contexts_file(tmp_path).read_text())["contexts"]
    assert (sorted(contexts), contexts["one"]["token"]) == (["one", "two"], "exchanged")


def test_the_keyring_has_the_token_where_there_is_one(account: Client, tmp_path: Path) -> None:
    (tmp_path / "ring.py").write_text(
        "import json, pathlib\nfrom keyring.backend import KeyringBackend\n"
        "file = pathlib.Path(__file__).with_name('ring')\nclass Ring(KeyringBackend):\n    priority = 1\n"
        "    def set_password(self, service, name, token): file.write_text(json.dumps([service, name, token]))\n"
        "    def get_password(self, service, name): return json.loads(file.read_text())[2] if file.exists() else None\n"
        "    def delete_password(self, service, name): file.unlink()\n"
    )
    ring = {"PYTHON_KEYRING_BACKEND": "ring.Ring", "PYTHONPATH": str(tmp_path)}

    given = ("login", account.url, "--username", account.email)
    done = flowrunner(*given, at=tmp_path, stdin=PASSWORD, environment=ring)

    assert done.returncode == 0, done.stderr
    assert "token" not in json.loads(contexts_file(tmp_path).read_text())["contexts"].popitem()[1]
    assert flowrunner("whoami", at=tmp_path, environment=ring).returncode == 0
    assert flowrunner("logout", at=tmp_path, environment=ring).returncode == 0
    assert not (tmp_path / "ring").exists()


def test_without_a_terminal_nothing_is_asked(account: Client, tmp_path: Path) -> None:
    done = flowrunner("login", account.url, at=tmp_path, stdin=PASSWORD)

    assert done.returncode == 2
    assert "--username" in done.stderr


def test_each_request_is_printed_if_the_user_wants_it(account: Client, tmp_path: Path) -> None:
    log_in(account, tmp_path)

    done = flowrunner("-v", "whoami", "-o", "name", at=tmp_path)

    assert done.stdout == f"{account.email}\n"
    assert "flowrunner: GET /accounts/me: 200 in " in done.stderr


def test_control_characters_of_a_server_do_not_reach_the_terminal(account: Client, tmp_path: Path) -> None:
    log_in(account, tmp_path)
    account.put("/api/v1/accounts/me", {"name": "\x1b]0;owned\x07 日本 \u202eadA"})

    for output in ("table", "json", "yaml", "ndjson"):
        seen = on_a_terminal("whoami", "-o", output, at=tmp_path)
        assert "owned" in seen
        assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(seen), output


class BrowserLogin:
    """`flowrunner login --browser`, with a browser that does nothing, and what the browser's page would do."""

    def __init__(self, account: Client, home: Path, *more: str) -> None:
        self.account = account
        self.command = start_flowrunner(
            "login", account.url, "--browser", *more, at=home, environment={"BROWSER": "true", "SSH_CONNECTION": ""}
        )
        assert self.command.stderr is not None
        self.shown = self.command.stderr.readline()
        self.address = self.command.stderr.readline().strip()
        self.asked = {k: v for k, [v] in parse_qs(urlsplit(self.address).query).items()}

    def allow(self, challenge: str | None = None) -> str:
        reply = self.account.post("/api/v1/auth/command-logins", {"challenge": challenge or self.asked["challenge"]})
        code: str = reply.json["code"]
        return code

    def hand_over(self, path: str = "/", **query: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", int(self.asked["port"]), timeout=PATIENCE_SECONDS)
        with closing(connection):
            connection.request("GET", f"{path}?{urlencode(query)}")
            return connection.getresponse().status

    def end(self) -> tuple[int, str]:
        _, err = self.command.communicate(timeout=60)
        return self.command.returncode, err


def test_a_browser_logs_the_command_in(account: Client, tmp_path: Path) -> None:
    login = BrowserLogin(account, tmp_path, "--name", "b")
    shown = f"{login.asked['challenge'][:4]}-{login.asked['challenge'][4:8]}"
    assert shown in login.shown
    assert login.asked["machine"].endswith(f"@{socket.gethostname()}")

    assert login.hand_over(state=login.asked["state"], code=login.allow()) == 200

    code, err = login.end()
    assert (code, f"Logged in to {account.url} as {account.email}; the context is 'b'" in err) == (0, True), err
    assert account.email in flowrunner("whoami", at=tmp_path).stdout


def test_codes_of_others_do_not_log_the_command_in(account: Client, admin: Client, tmp_path: Path) -> None:
    login = BrowserLogin(account, tmp_path)
    state = login.asked["state"]
    other = admin.new_account()
    theirs = other.post("/api/v1/auth/command-logins", {"challenge": "a" * 64}).json["code"]

    # Other local users and pages do not know the state. Who reads it from the list of processes lacks the verifier.
    assert login.hand_over(state="wrong", code=theirs) == 404
    assert login.hand_over(code=theirs) == 404
    assert login.hand_over(state=state) == 404
    assert login.hand_over("/other", state=state, code=theirs) == 404
    assert login.hand_over(state=state, code=theirs) == 200
    silent = socket.create_connection(("127.0.0.1", int(login.asked["port"])))
    assert login.hand_over(state=state, code=login.allow()) == 200

    code, err = login.end()
    silent.close()
    assert code == 0, err
    assert "does not belong to this login" in err
    assert account.email in flowrunner("whoami", at=tmp_path).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="takes another user's place")
def test_an_answer_of_another_user_of_the_machine_does_not_count(
    account: Client, admin: Client, tmp_path: Path
) -> None:
    login = BrowserLogin(account, tmp_path)
    other = admin.new_account()
    theirs = other.post("/api/v1/auth/command-logins", {"challenge": login.asked["challenge"]}).json["code"]
    query = urlencode({"state": login.asked["state"], "code": theirs})

    answers = []
    for closes_at_once in (False, True):
        os.seteuid(65534)
        try:
            client = socket.socket()
        finally:
            os.seteuid(0)
        with client:
            client.connect(("127.0.0.1", int(login.asked["port"])))
            client.sendall(f"GET /?{query} HTTP/1.0\r\n\r\n".encode())
            if not closes_at_once:
                answers.append(client.recv(1024).split()[1])
    assert login.hand_over(state=login.asked["state"], code=login.allow()) == 200

    code, err = login.end()
    assert (code, answers) == (0, [b"403"]), err
    assert "does not belong to this login" not in err
    assert account.email in flowrunner("whoami", at=tmp_path).stdout


def test_a_code_is_pasted_where_the_browser_is_elsewhere(account: Client, tmp_path: Path) -> None:
    done = flowrunner("login", account.url, "--paste", at=tmp_path, stdin="not a code\n")

    assert done.returncode == 4
    assert "port=" not in done.stderr
    assert "/command-login?challenge=" in done.stderr
    assert "hint: start again: flowrunner login --paste" in done.stderr
    assert not contexts_file(tmp_path).exists()


@pytest.mark.parametrize("around", ["%s", "%s\n", " %s \r\n", "%s\nmore\n"])
def test_a_pasted_code_is_taken_without_what_surrounds_it(around: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    class Answers:
        url = "http://127.0.0.1:8080"

        def request(self, method: str, path: str, *, json: Any) -> Any:
            sent.append(json["code"])
            return SimpleNamespace(object=dict)

    monkeypatch.setattr("sys.stdin", io.StringIO(around % "the-code"))

    log_in_by_browser(cast("Any", Answers()), paste=True)

    assert sent == ["the-code"]


def test_one_way_to_log_in_is_chosen(account: Client, tmp_path: Path) -> None:
    done = flowrunner("login", account.url, "--browser", "--with-token", at=tmp_path)

    assert done.returncode == 2
    assert "Choose one way to log in" in done.stderr


def test_a_login_is_kept_under_the_context_that_is_named(account: Client, tmp_path: Path) -> None:
    log_in(account, tmp_path, "--context", "work")

    assert list(json.loads(contexts_file(tmp_path).read_text())["contexts"]) == ["work"]


def test_the_nearer_a_workspace_is_named_the_more_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = Contexts("mine", {"mine": Context(url="http://127.0.0.1:1", workspace="of-the-context")})
    found = []
    with click.Context(click.Command("list")):
        found.append(find_target(contexts).workspace)
        monkeypatch.setenv("FLOWRUNNER_WORKSPACE", "of-the-variable")
        found.append(find_target(contexts).workspace)
        common().workspace = "of-the-option"
        found.append(find_target(contexts).workspace)

    assert found == ["of-the-context", "of-the-variable", "of-the-option"]


def test_a_login_in_a_context_keeps_its_workspace(account: Client, tmp_path: Path) -> None:
    flowrunner("context", "add", "mine", "--url", account.url, "--workspace", "ops", at=tmp_path)

    done = flowrunner("login", "--username", account.email, at=tmp_path, stdin=f"{PASSWORD}\n")

    assert done.returncode == 0, done.stderr
    [context] = json.loads(flowrunner("context", "list", "-o", "json", at=tmp_path).stdout)
    assert (context["name"], context["workspace"], context["is_logged_in"]) == ("mine", "ops", True)
