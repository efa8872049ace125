"""How the server is told what to do, and what it says when it cannot."""

import os
import re
import socket
import sqlite3
import stat
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path
from typing import Final

import pytest
from websockets.exceptions import ConnectionClosedError

from flowrunner.bootstrap.ownership import locked
from flowrunner.settings import InvalidSettings, Settings, load_settings
from support.preloaded import run_forked
from support.server import ADMIN_PASSWORD, HASTY, Server, clean_environment
from support.waiting import wait_for

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs `flowrunner …` in an empty directory, with these variables and no others of ours."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        variables = clean_environment(XDG_DATA_HOME=str(tmp_path / "xdg"), HOME=str(tmp_path), **environment)
        return run_forked(["-m", "flowrunner", *arguments], cwd=tmp_path, env=variables)

    return run


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path)
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture
def cold_server(tmp_path: Path) -> Iterator[Server]:
    """A server that is started as users start one."""
    found = Server(tmp_path, is_cold=True)
    try:
        yield found
    finally:
        found.stop()


def values(output: str) -> Mapping[str, str]:
    lines = [line for line in output.splitlines() if line and not line.startswith("#")]
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}


# Settings


def test_config_prints_every_setting_with_what_it_means(command: Command, tmp_path: Path) -> None:
    done = command("config")

    assert done.returncode == 0
    assert values(done.stdout).keys() == {field.name for field in fields(Settings)}
    assert done.stdout.count("# ") == len(fields(Settings))
    found = values(done.stdout)
    assert (found["host"], found["port"]) == ("127.0.0.1", "8080")
    assert found["data_dir"] == str(tmp_path / "xdg" / "flowrunner")
    assert not (tmp_path / "xdg").exists(), "it only prints"


def test_a_flag_wins_over_a_variable_that_over_the_file_that_over_the_default(command: Command, tmp_path: Path) -> None:
    (tmp_path / "flowrunner.toml").write_text('port = 1001\nhost = "127.0.0.3"\nlog_level = "error"\n')

    found = values(command("config", "--port", "1003", FLOWRUNNER_PORT="1002", FLOWRUNNER_HOST="127.0.0.2").stdout)

    assert (found["port"], found["host"], found["log_level"]) == ("1003", "127.0.0.2", "error")


def test_the_file_can_be_named(command: Command, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text('egress_allow = ["10.0.0.0/8", "::1/128"]\nretention = "7d"\n')

    found = values(command("config", FLOWRUNNER_CONFIG=str(tmp_path / "other.toml")).stdout)

    assert found["egress_allow"] == "10.0.0.0/8,::1/128"
    assert found["retention"] == f"{7 * 86400}s"


@pytest.mark.parametrize("variable", ["CONFIG", *(f"{field.name.upper()}_FILE" for field in fields(Settings))])
@pytest.mark.parametrize("what", ["nothing", "a directory", "bytes"])
def test_a_file_that_is_named_and_cannot_be_read_is_an_error(
    variable: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The defaults would be those of another installation."""
    named = tmp_path / "named"
    if what == "a directory":
        named.mkdir()
    elif what == "bytes":
        named.write_bytes(b"\xff\xfe")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(InvalidSettings, match="named" if variable == "CONFIG" else f"FLOWRUNNER_{variable}: "):
        load_settings({}, {f"FLOWRUNNER_{variable}": str(named)})


def test_a_value_can_be_read_from_a_file(command: Command, tmp_path: Path) -> None:
    (tmp_path / "email").write_text("me@example.com\n")
    (tmp_path / "password").write_text("a password in a file\n")

    done = command(
        "config",
        FLOWRUNNER_ADMIN_EMAIL_FILE=str(tmp_path / "email"),
        FLOWRUNNER_ADMIN_PASSWORD_FILE=str(tmp_path / "password"),
    )

    assert values(done.stdout)["admin_email"] == "me@example.com"
    assert values(done.stdout)["admin_password"] == "***"
    assert "a password in a file" not in done.stdout + done.stderr


def test_a_value_from_a_file_loses_its_last_line_break_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("  blanks belong to it \n\n")
    environment = {
        "FLOWRUNNER_ADMIN_EMAIL": "me@example.com",
        "FLOWRUNNER_ADMIN_PASSWORD_FILE": str(tmp_path / "password"),
    }

    assert load_settings({}, environment).admin_password == "  blanks belong to it \n"


def test_a_limit_of_0_is_none_and_one_of_bytes_has_a_unit(command: Command) -> None:
    given = {"FLOWRUNNER_WORKSPACE_QUEUED": "0", "FLOWRUNNER_WORKSPACE_STORED": "500MiB"}
    found = values(command("config", **given).stdout)

    assert (found["workspace_queued"], found["workspace_stored"]) == ("0", str(500 * 2**20))
    assert values(command("config", FLOWRUNNER_WORKSPACE_STORED="0").stdout)["workspace_stored"] == "0"


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [
        ("RETENTION", "0s", "must be at least 5m"),
        ("SMTP_URL", "smtp://mail.example.com?from=Flows", "'from' must be an e-mail address alone"),
        ("SMTP_URL", "smtp://mail.example.com?form=flows@example.com", "the only one is 'from'"),
        ("SMTP_URL", "smtp://user:1?b@mail.example.com", "the only one is 'from'; write \\? in"),
        ("SMTP_URL", "smtp://mail.example.com?from=", "'from' must be an e-mail address alone"),
        ("PUBLIC_URL", "https://flows.example.com:x", "must be an address such as https://flows.example.com"),
        ("PUBLIC_URL", "https://flows.example.com/flows", "must be an address such as https://flows.example.com"),
        ("PUBLIC_URL", "https://flows.example.com?a=b", "must be an address such as https://flows.example.com"),
        ("PUBLIC_URL", "https://flows.example.com/#flows", "must be an address such as https://flows.example.com"),
        ("PUBLIC_URL", "https://ada:secret@flows.example.com", "must be an address such as https://flows.example.com"),
        ("PUBLIC_URL", "https://flows..example.com", "must be an address such as https://flows.example.com"),
        ("PUBLIC_URL", "ftp://flows.example.com", "must be an address such as https://flows.example.com"),
        ("HOST", "", "must be an address such as 127.0.0.1"),
        ("DATA_DIR", "", "must be a directory"),
        ("ALLOWED_HOSTS", "flows.example.com:8080", "without a port"),
        ("PASSWORD_LOGIN", "no", "must be on or off"),
        ("METRICS_TOKEN", "fifteen-letters", "must have at least 16"),
        ("METRICS_TOKEN", "sixteen letters!", "no blanks"),
        ("METRICS_TOKEN", "sixteen-letters\n", "no blanks"),
        ("METRICS_TOKEN", "sechzehn-zeichön", "letters, digits and signs"),
        ("RETENTION", "299s", "must be at least 5m"),
        ("AUDIT_RETENTION", "47h", "must be at least 2d"),
        ("PROCESSES", "65", "must be at most 64"),
        ("DISPATCH", "localhost:7233", "must be local, or an address such as temporal://"),
        ("EGRESS_ALLOW", "10.1.2.3/8", "did you mean 10.0.0.0/8"),
        ("TRUSTED_PROXIES", "proxy", "'proxy' is neither an address nor a range, such as"),
        ("DATABASE_URL", "mysql://host/name", "must be a URL such as postgresql://"),
        ("DATABASE_URL", "postgresql://user:a#b@host/name", "write / \\? # "),
        ("DATABASE_URL", "postgresql://user:a/b@host/name", "write / \\? # "),
        ("DATABASE_URL", "postgresql://user:1?b@host/name", "write / \\? # "),
        ("DATABASE_URL", "postgresql://user:[b@host/name", "write / \\? # "),
        ("SMTP_URL", "smtp://mail.example.com:0", "must be a URL such as smtps://"),
        ("SMTP_URL", "smtp://user:a/b@mail.example.com", "must be a URL such as smtps://"),
        ("SMTP_URL", "smtp://user:a#b@mail.example.com", "must be a URL such as smtps://"),
        ("SMTP_URL", "http://mail.example.com", "must be a URL such as smtps://"),
        ("SMTP_URL", "smtp:", "must be a URL such as smtps://"),
    ],
)
def test_a_setting_that_could_only_do_harm_is_rejected(name: str, value: str, fault: str) -> None:
    with pytest.raises(InvalidSettings, match=fault):
        load_settings({}, {f"FLOWRUNNER_{name}": value})


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("PORT", "0", 0), ("PORT", "65535", 65535), ("MAX_ACTIVE", "1", 1), ("PROCESSES", "64", 64),
        ("WORKSPACE_FLOWS", "1", 1), ("WORKSPACE_STORED", "1", 1), ("WORKSPACE_STORED", "2KiB", 2 * 2**10),
        ("WORKSPACE_STORED", "3GiB", 3 * 2**30), ("WORKSPACE_STORED", "4TiB", 4 * 2**40), ("TOKEN_LIFE", "1s", 1.0),
        ("DATABASE_TIMEOUT", "1s", 1.0), ("RETENTION", "5m", 300.0), ("AUDIT_RETENTION", "2d", 172_800.0),
        ("DRAIN_TIME", "0s", 0.0), ("METRICS_TOKEN", "sixteen-letters!", "sixteen-letters!"),
        ("PASSWORD_LOGIN", "off", False), ("REQUIRE_SECOND_FACTOR", "on", True),
        ("ALLOWED_HOSTS", " Flows.example.com , other ", ("flows.example.com", "other")),
        ("TRUSTED_PROXIES", "10.0.0.1, ::1/128,", (ip_network("10.0.0.1"), ip_network("::1"))),
        ("PUBLIC_URL", "HTTPS://Flows.example.com:443/", "https://flows.example.com"),
        ("PUBLIC_URL", "http://flows.example.com:80", "http://flows.example.com"),
        ("PUBLIC_URL", "http://flows.example.com:443", "http://flows.example.com:443"),
        ("PUBLIC_URL", "http://[::1]:8080", "http://[::1]:8080"),
        # Browsers send it in this form.
        ("PUBLIC_URL", "https://Müller.example.com", "https://xn--mller-kva.example.com"),
        ("DATABASE_URL", "postgres://u:a%2Fb@host/name?sslmode=require", "postgres://u:a%2Fb@host/name?sslmode=require"),
        ("SMTP_URL", "smtps://u:p@host:465/?from=flows@example.com", "smtps://u:p@host:465/?from=flows@example.com"),
    ],
)  # fmt: skip
def test_a_value_is_read_as_what_it_says_up_to_its_limits(name: str, value: str, read: object) -> None:
    settings = load_settings({}, {f"FLOWRUNNER_{name}": value})

    assert getattr(settings, name.lower()) == read


def test_the_file_is_read_as_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('data_dir = "/srv/ü"', encoding="utf-8")
    program = (
        "from flowrunner.settings import load_settings; import os; print(ascii(load_settings({}, os.environ).data_dir))"
    )
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    done = subprocess.run(
        [sys.executable, "-c", program], env=clean_environment(FLOWRUNNER_CONFIG="settings.toml", **locale),
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.stdout == "PosixPath('/srv/\\xfc')\n", done.stderr


def test_a_date_in_the_file_is_a_fault_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("port = 2027-01-31\n[sign_on.work]\nsince = 2027-01-31\n")

    with pytest.raises(InvalidSettings) as raised:
        load_settings({}, {"FLOWRUNNER_CONFIG": str(tmp_path / "settings.toml")})

    assert [line.partition(": ")[2].partition(":")[0] for line in str(raised.value).splitlines()] == ["port", "sign_on"]


def test_a_switch_of_the_file_is_one_of_toml(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("password_login = false\nrequire_second_factor = true\n")

    settings = load_settings({}, {"FLOWRUNNER_CONFIG": str(tmp_path / "settings.toml")})

    assert (settings.password_login, settings.require_second_factor) == (False, True)


@pytest.mark.parametrize("name", ["EMAIL", "PASSWORD"])
def test_the_first_admin_needs_both_an_address_and_a_password(name: str) -> None:
    with pytest.raises(InvalidSettings, match="give both, or neither"):
        load_settings({}, {f"FLOWRUNNER_ADMIN_{name}": "admin@example.com"})


def test_config_masks_what_is_secret(command: Command) -> None:
    done = command("config", FLOWRUNNER_ADMIN_EMAIL="me@example.com", FLOWRUNNER_ADMIN_PASSWORD="hunter2-hunter2")

    assert values(done.stdout)["admin_password"] == "***"
    assert "hunter2" not in done.stdout + done.stderr


def test_a_secret_is_no_flag(command: Command) -> None:
    done = command("serve", "--admin-password", "hunter2-hunter2")

    assert done.returncode == 2
    assert "No such option" in done.stderr


@pytest.mark.parametrize("name", ["config", "serve"])
def test_all_mistakes_are_told_at_once(command: Command, tmp_path: Path, name: str) -> None:
    (tmp_path / "flowrunner.toml").write_text('prot = 1\nlog_format = "xml"\n')

    done = command(
        name, "--max-active", "0",
        FLOWRUNNER_PORT="x", FLOWRUNNER_EGRESS_ALLOW="10.0.0.0/33", FLOWRUNNER_TOKEN_LIFE="soon",
        FLOWRUNNER_ADMIN_EMAIL="me@example.com", FLOWRUNNER_LOG_LEVEL="loud", FLOWRUNNER_NOTHING="1",
        FLOWRUNNER_HOST="127.0.0.1", FLOWRUNNER_HOST_FILE="x", FLOWRUNNER_RETENTION_FILE="/nowhere",
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stdout == ""
    for word in (
        "prot", "log_format", "--max-active", "FLOWRUNNER_PORT", "FLOWRUNNER_EGRESS_ALLOW", "FLOWRUNNER_TOKEN_LIFE",
        "FLOWRUNNER_ADMIN_PASSWORD", "FLOWRUNNER_LOG_LEVEL", "FLOWRUNNER_NOTHING", "FLOWRUNNER_HOST_FILE",
        "FLOWRUNNER_RETENTION_FILE",
    ):  # fmt: skip
        assert word in done.stderr, word
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "xdg").exists()


@pytest.mark.parametrize(
    "text", ["port = ", "= 1", "port = 1\nport = 2", "\x00", "[server]\nport = 1", "port = {a = 1}", "port = true"]
)
def test_a_broken_file_is_told(command: Command, tmp_path: Path, text: str) -> None:
    (tmp_path / "flowrunner.toml").write_text(text)

    done = command("config")

    assert done.returncode == 2
    assert "flowrunner.toml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "65536"), ("PORT", "-1"), ("PORT", ""), ("PORT", "8080.0"), ("EGRESS_ALLOW", "everything"),
        ("EGRESS_ALLOW", "10.0.0.1/8"), ("DRAIN_TIME", "-1s"), ("DRAIN_TIME", ""), ("MAX_ACTIVE", "-5"),
        ("TOKEN_LIFE", "1"), ("LOG_FORMAT", "JSON"), ("WORKSPACE_FLOWS", "-1"), ("ACCOUNT_REQUESTS", "none"),
        ("WORKSPACE_STORED", "10GB"), ("WORKSPACE_STORED", "1.5GiB"), ("WORKSPACE_STORED", "-1"), ("MAX_SOCKETS", "0"),
        ("TRUSTED_PROXIES", "proxy"), ("DATA_DIR", "~nobody-of-this-name/data"),
        # Nobody could log in, and PostgreSQL would take it for no limit.
        ("TOKEN_LIFE", "0s"), ("DATABASE_TIMEOUT", "0s"),
    ],
)  # fmt: skip
def test_a_value_that_is_none_is_told_by_its_name(command: Command, name: str, value: str) -> None:
    done = command("config", **{f"FLOWRUNNER_{name}": value})

    assert done.returncode == 2
    assert f"FLOWRUNNER_{name}: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("value", ["abc", "8_0", "٣", "+5", "9" * 5000])
@pytest.mark.parametrize("name", ["PORT", "MAX_ACTIVE"])
def test_a_number_that_is_none_is_told_in_words(command: Command, name: str, value: str) -> None:
    done = command("config", **{f"FLOWRUNNER_{name}": value})

    assert f"FLOWRUNNER_{name}: must be a whole number" in done.stderr
    assert "literal" not in done.stderr


def test_a_secret_with_a_mistake_is_not_printed(command: Command) -> None:
    done = command("config", FLOWRUNNER_ADMIN_PASSWORD="hunter2-hunter2", FLOWRUNNER_PORT="x")

    assert done.returncode == 2
    assert "hunter2" not in done.stdout + done.stderr


def test_help_and_version_are_quick_and_plain(command: Command) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    version, help, nothing = command("--version"), command("serve", "--help"), command("frobnicate")

    assert version.stdout.split()[0] in project["scripts"]
    assert help.returncode == 0
    shown = set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", help.stdout, re.MULTILINE))
    assert {"--host", "--port", "--data-dir"} < shown <= flags_of_settings() | {"--help"}
    assert "flowrunner config" in help.stdout, "where the other settings are described"
    assert nothing.returncode == 2


def flags_of_settings() -> set[str]:
    """Return the options for all settings but the secret ones."""
    return {f"--{field.name.replace('_', '-')}" for field in fields(Settings) if not field.metadata["secret"]}


@pytest.mark.parametrize("name", ["config", "serve"])
def test_every_setting_but_a_secret_is_an_option_also_where_the_help_is_short(command: Command, name: str) -> None:
    # A value that no setting accepts, so that no server starts: all values are read before anything is done.
    done = command(name, "--port", "x", *(f"{flag}=" for flag in sorted(flags_of_settings() - {"--port"})))

    assert done.returncode == 2
    assert "No such option" not in done.stderr
    assert "--port: must be a whole number" in done.stderr


# The first start


def test_the_data_directory_is_made_for_its_owner_alone_and_no_crash_writes_the_keys(cold_server: Server) -> None:
    cold_server.start()

    limits = Path(f"/proc/{cold_server.pid}/limits").read_text()
    assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)

    assert stat.S_IMODE(cold_server.data_dir.stat().st_mode) == 0o700
    for name in ("keys/master.key", "keys/signing.key", "flowrunner.db"):
        assert stat.S_IMODE((cold_server.data_dir / name).stat().st_mode) == 0o600


def test_keys_and_data_stay_over_restarts(server: Server) -> None:
    admin = server.start().admin()
    admin.new_secret("KEY", "a value to be kept")
    flow = admin.new_flow(
        "nodes:\n  a: {type: log, params: {message: '${secrets.KEY}'}, next: r}\n  r: {type: return}\n"
    )
    first = admin.ended(admin.run(flow))
    keys = {path.name: path.read_text() for path in (server.data_dir / "keys").iterdir()}

    for end in (server.kill, server.terminate):
        end()
        server.wait()
        server.start()
        again = server.client(admin.token)
        assert again.execution(first["id"]) == first
        assert again.ended(again.run(flow))["status"] == "completed"
        assert {path.name: path.read_text() for path in (server.data_dir / "keys").iterdir()} == keys


def test_a_token_that_was_logged_out_stays_useless_after_a_restart(server: Server) -> None:
    admin, second = server.start().admin(), server.admin()
    admin.post("/api/v1/auth/logout")

    server.kill()
    server.start()

    assert server.client(admin.token).get("/api/v1/flows").status == 401
    assert server.client(second.token).get("/api/v1/flows").status == 200


def test_a_refreshed_token_ends_in_time_also_over_a_restart(tmp_path: Path) -> None:
    server = Server(tmp_path, program=HASTY)
    try:
        admin = server.start().admin()
        newer = admin.post("/api/v1/auth/refresh").json["token"]
        assert admin.get("/api/v1/flows").status == 200
        server.kill()
        server.start()

        wait_for(lambda: server.client(admin.token).get("/api/v1/flows").status == 401)
        assert server.client(newer).get("/api/v1/flows").status == 200
    finally:
        server.stop()


def test_a_token_ends_when_it_says(tmp_path: Path) -> None:
    server = Server(tmp_path, {"TOKEN_LIFE": "8s"})
    try:
        admin = server.start().admin()
        nap = admin.run(admin.new_flow("nodes:\n  a: {type: delay, params: {duration: 1h}}\n"))
        assert admin.get("/api/v1/flows").status == 200
        with admin.watch(nap) as connection:
            with pytest.raises(ConnectionClosedError):
                list(connection)
            assert connection.close_code == 4401, "a socket ends with the token that opened it"
        reply = admin.get("/api/v1/flows")
        assert reply.status == 401
        assert "expired" in reply.error["message"]
        assert admin.post("/api/v1/auth/refresh").status == 401
    finally:
        server.stop()


# Health


def test_health_readiness_and_metrics_need_nobody(server: Server) -> None:
    nobody = server.start().client()

    assert nobody.get("/healthz").json == {"status": "ok"}
    assert nobody.get("/readyz").json == {"status": "ready"}
    metrics = nobody.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "flowrunner_executions_active" in metrics.body.decode()


def test_the_server_is_ready_soon(server: Server, cold_server: Server) -> None:
    # The first start also makes the database; this is any later one.
    server.start()
    server.kill()

    cold_server.start()

    # Processor time: on a busy machine the time of the clock says nothing.
    assert spent_by(cold_server.pid) < 5


def spent_by(pid: int) -> float:
    """Return the seconds of processor time that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


# Starts that cannot be


def test_a_second_server_refuses_although_somebody_has_deleted_the_lock_of_the_first(
    server: Server, tmp_path: Path
) -> None:
    server.start()
    (server.data_dir / "lock").unlink()
    second = Server(tmp_path)
    second.log_path = tmp_path / "second.log"
    second.spawn()

    assert second.wait() == 1
    assert f"Another FlowRunner server is using {server.data_dir}" in second.log


FORKED: Final = """
import os, sys
from pathlib import Path
from flowrunner.bootstrap.ownership import locked

with locked(Path(sys.argv[1])):
    ready, is_ready = os.pipe()
    if os.fork() == 0:
        os.write(is_ready, b"1")
        # Until the test ends.
        sys.stdin.read()
    else:
        os.read(ready, 1)
    os._exit(0)
"""


def test_a_process_that_was_forked_does_not_hold_the_lock_after_the_end_of_the_server(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with subprocess.Popen([sys.executable, "-c", FORKED, str(tmp_path)], stdin=subprocess.PIPE) as process:
        assert process.wait() == 0

        with locked(tmp_path):
            pass


def test_a_second_server_on_the_same_data_refuses(server: Server, tmp_path: Path) -> None:
    admin = server.start().admin()
    second = Server(tmp_path)
    second.log_path = tmp_path / "second.log"
    second.spawn()

    assert second.wait() == 1
    assert f"Another FlowRunner server is using {server.data_dir}" in second.log
    assert "Traceback" not in second.log
    assert admin.get("/api/v1/flows").status == 200
    server.kill()
    # The lock of a server that was killed holds nobody up.
    second.start()
    second.stop()


def test_a_port_that_is_taken_is_told(command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = command("serve", "--port", str(taken.getsockname()[1]))

    assert done.returncode == 1
    assert "choose another with --port" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_none_is_told(command: Command) -> None:
    for host in ("192.0.2.1", "not a host", "::g", "300.1.1.1"):
        done = command("serve", "--host", host, "--port", "0")

        assert done.returncode == 1, host
        assert "Traceback" not in done.stderr, host
        assert host in done.stderr
        assert "choose another with --host" in done.stderr, host


def test_that_the_client_of_temporal_is_missing_is_told_before_anything_is_touched(tmp_path: Path) -> None:
    program = "import sys; sys.modules['temporalio'] = None; from flowrunner.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "serve", "--port", "0", "--data-dir", str(tmp_path / "data")],
        env=clean_environment(
            FLOWRUNNER_DISPATCH="temporal://127.0.0.1:1", FLOWRUNNER_DATABASE_URL="postgresql://127.0.0.1:1/none"
        ),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, "pip install" in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("kind", ["a file", "below a file"])
def test_a_data_directory_that_cannot_be_is_told(command: Command, tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("x")
    path = tmp_path / "file" if kind == "a file" else tmp_path / "file" / "data"

    done = command("serve", "--port", "0", "--data-dir", str(path))

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(path) in done.stderr


@pytest.mark.parametrize("content", [b"this is no database" * 1000, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_a_database_that_is_none_is_told_and_left_alone(server: Server, content: bytes) -> None:
    server.start()
    server.terminate()
    server.wait()
    for path in server.data_dir.glob("flowrunner.db*"):
        path.unlink()
    server.database.write_bytes(content)
    server.database.chmod(0o600)

    server.spawn()

    assert server.wait() == 1
    assert "Traceback" not in server.log
    assert server.database.read_bytes() == content


def test_a_database_of_a_later_version_is_told_and_left_alone(server: Server) -> None:
    server.start()
    server.terminate()
    server.wait()
    with closing(sqlite3.connect(server.database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE engine SET compatible_with = '9998'")
        connection.commit()

    server.spawn()

    assert server.wait() == 1
    assert "Traceback" not in server.log
    assert "newer" in server.log or "9999" in server.log


def test_the_environment_of_flows_holds_nothing_of_the_servers(server: Server) -> None:
    admin = server.start().admin()
    for path in ("env.PATH", "process.env", "execution.env", "flow.admin_password", "settings.admin_password"):
        definition = f"nodes:\n  a: {{type: return, params: {{value: '${{{path}}}'}}}}\n"
        reply = admin.post("/api/v1/flows", {"name": "N", "definition": definition})
        assert reply.status == 422, path
    assert ADMIN_PASSWORD not in server.log


def test_a_start_with_too_little_memory_ends_with_a_line_about_it(tmp_path: Path) -> None:
    limited = 'ulimit -v 400000; exec "$@"', "sh", sys.executable, "-m", "flowrunner"
    done = subprocess.run(
        ["sh", "-c", *limited, "serve", "--port", "0", "--data-dir", tmp_path / "data"],
        env=clean_environment(), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert "ulimit -v" in done.stderr.splitlines()[-1]
