"""The bridge `flowrunner mcp`: what it says when it cannot connect, and how it ends."""

import asyncio
import gzip
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from api.agents import Agent, message, token_of
from flowrunner.cli import mcp_bridge
from flowrunner.cli.common import CommandFailed
from flowrunner.cli.connection import Target
from support.client import Client
from support.lazy import Lazy
from support.preloaded import run_forked
from support.server import Server, clean_environment


def bridge(at: Path, *arguments: str, sent: str = "", program: str = "", **variables: str) -> Any:
    """The ended command, after what it is sent on its standard input."""
    started = ["-c", program] if program else ["-m", "flowrunner"]
    environment = clean_environment(HOME=str(at), **variables)
    return run_forked([*started, "mcp", *arguments], cwd=at, env=environment, input=sent.encode())


def test_a_command_that_cannot_connect_says_why(tmp_path: Path, account: Client) -> None:
    rest = token_of(account, "read")
    (tmp_path / "token.txt").write_text(rest)
    cases: list[tuple[tuple[str, ...], dict[str, str], int, str]] = [
        ((), {}, 4, "set FLOWRUNNER_TOKEN to an API token with the scope 'mcp'"),
        (("--token", "-"), {}, 2, "The standard input is the agent's"),
        ((), {"FLOWRUNNER_TOKEN": rest}, 4, "The MCP server takes only API tokens with the scope 'mcp'"),
        (("--token", "@token.txt"), {}, 4, "The MCP server takes only API tokens with the scope 'mcp'"),
        ((), {"FLOWRUNNER_TOKEN": "nothing"}, 4, "token"),
        ((), {"FLOWRUNNER_TOKEN": rest, "FLOWRUNNER_URL": "http://127.0.0.1:9"}, 7, "cannot be reached"),
        ((), {"FLOWRUNNER_TOKEN": "fr_pat_\nx"}, 2, "The token is empty or has characters that no token has"),
        ((), {"FLOWRUNNER_TOKEN": rest, "FLOWRUNNER_URL": "http://a\nb"}, 2, "must not have spaces"),
        ((), {"FLOWRUNNER_TOKEN": rest, "FLOWRUNNER_URL": "ftp://a"}, 2, "must begin with http:// or https://"),
    ]
    for arguments, variables, code, said in cases:
        done = bridge(tmp_path, *arguments, **{"FLOWRUNNER_URL": account.url, **variables})

        assert (done.returncode, done.stdout) == (code, ""), done
        assert said in done.stderr
        assert "Traceback" not in done.stderr
        assert rest not in done.stderr


def test_without_the_extra_the_command_says_what_to_install(tmp_path: Path) -> None:
    program = "import sys; sys.modules['mcp'] = None; from flowrunner.cli.main import main; main()"

    done = bridge(tmp_path, program=program, FLOWRUNNER_TOKEN="x")

    assert (done.returncode, "install FlowRunner with the extra 'mcp'" in done.stderr) == (1, True)


def test_the_standard_output_holds_messages_alone_and_the_end_of_the_input_ends_it(
    tmp_path: Path, account: Client
) -> None:
    asked = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    lines = [message("initialize", asked), message("tools/list", id=2), message("x/y", id="three")]
    sent = 'not json\n\n{"id": 7}\n' + "".join(json.dumps(line) + "\n" for line in lines)
    with subprocess.Popen(
        [sys.executable, "-m", "flowrunner", "mcp"],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=clean_environment(HOME=str(tmp_path), FLOWRUNNER_URL=account.url, FLOWRUNNER_TOKEN=token_of(account)),
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(sent)
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(5)]
        process.stdin.close()
        assert process.wait(timeout=60) == 0
        assert process.stdout.read() == ""

    unreadable = [answer["error"] for answer in answers if answer["id"] is None]
    assert [(error["code"], error["message"][:22]) for error in unreadable] == [
        (-32700, "The line is not JSON: "), (-32600, "The line is no JSON-RP"),
    ]  # fmt: skip
    by_id = {answer["id"]: answer for answer in answers}
    assert by_id[1]["result"]["serverInfo"]["name"] == "flowrunner"
    assert len(by_id[2]["result"]["tools"]) >= 13
    assert by_id["three"]["error"]["code"] == -32601


@pytest.mark.parametrize("ending", ["interrupted", "not read"])
def test_it_ends_although_the_standard_input_stays_open(tmp_path: Path, account: Client, ending: str) -> None:
    asked = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    with subprocess.Popen(
        # Whatever was started in the background ignores Ctrl-C, and so does all that it starts: these tests, perhaps.
        ["env", "--default-signal=INT", sys.executable, "-m", "flowrunner", "mcp"],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=clean_environment(HOME=str(tmp_path), FLOWRUNNER_URL=account.url, FLOWRUNNER_TOKEN=token_of(account)),
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(json.dumps(message("initialize", asked)) + "\n")
        process.stdin.flush()
        assert "serverInfo" in process.stdout.readline()

        if ending == "interrupted":
            process.send_signal(signal.SIGINT)
        else:
            process.stdout.close()
            process.stdin.write(json.dumps(message("ping", id=2)) + "\n")
            process.stdin.flush()

        try:
            code = process.wait(timeout=30)
        finally:
            process.kill()
        said = process.stderr.read()
    assert (code, said) == {
        "interrupted": (130, "flowrunner: interrupted\n"),
        "not read": (1, "flowrunner: The agent no longer reads the standard output\n"),
    }[ending]


async def test_a_server_that_has_gone_is_an_error_of_each_call_and_no_end(tmp_path: Path) -> None:
    from mcp import MCPError

    server = Server(tmp_path).start()
    try:
        token = token_of(server.admin().new_account())
        variables = {"HOME": str(tmp_path), "FLOWRUNNER_URL": server.url, "FLOWRUNNER_TOKEN": token}
        async with Agent.over_stdio(variables) as agent:
            assert await agent.call("search_flows") == {"flows": []}
            server.stop()
            for _ in range(2):
                with pytest.raises(MCPError, match="cannot be reached"):
                    await agent.call("search_flows")
    finally:
        server.stop()


async def test_a_call_that_the_server_cannot_read_is_no_fault_of_the_versions(tmp_path: Path, account: Client) -> None:
    from mcp import MCPError

    variables = {"HOME": str(tmp_path), "FLOWRUNNER_URL": account.url, "FLOWRUNNER_TOKEN": token_of(account)}
    async with Agent.over_stdio(variables) as agent:
        with pytest.raises(MCPError) as refused:
            await agent.call("search_flows", query="a\0b")

    assert str(refused.value) == "The request body cannot be read: text must not hold a NUL character"


# A hostile server


@asynccontextmanager
async def server_that_sends(head: str, *chunks: bytes, endless: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Give the URL of a server that answers each request with these bytes, and the requests that it has got."""
    got: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readuntil(b"\r\n\r\n"))
        try:
            writer.write(head.encode() + b"\r\nConnection: close\r\n\r\n")
            while True:
                for chunk in chunks:
                    writer.write(chunk)
                    await writer.drain()
                if not endless:
                    break
                # Without a wait the loop would have no turn for the reader.
                await asyncio.sleep(0.001)
            writer.close()
        except ConnectionError:
            pass

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", got
        server.close()


OK = "HTTP/1.1 200 OK\r\nContent-Type: application/json"
PONG = b'{"jsonrpc": "2.0", "id": 0, "result": {}}'


@pytest.mark.parametrize(
    ("head", "body", "endless", "said"),
    [
        (OK, Lazy(lambda: b" " * 1_000_000), True, "The server's answer has more than 16 MiB"),
        (OK, b" ", True, "has not answered in 0.5 s"),
        (f"{OK}\r\nContent-Encoding: gzip", gzip.compress(PONG, mtime=0), False, "a compressed answer"),
        (OK, b"<html>", False, "is no MCP server"),
        (OK, b"[" * 100_000, False, "is no MCP server"),
        (OK, PONG.replace(b"0,", b"1,"), False, "is no MCP server"),
        ("HTTP/1.1 400 Bad", b'["jsonrpc"]', False, "The server has answered 400, as no FlowRunner does"),
        ("HTTP/1.1 400 Bad", b'{"jsonrpc": "2.0"}', False, "The server has answered 400, as no FlowRunner does"),
        ("HTTP/1.1 409 No", b'{"error": {"code": 7, "message": {}, "hint": null}}', False, "{}"),
        # What follows the first answer is no handshake.
        (OK, PONG, False, "does not answer as an MCP server"),
    ],
    ids=[
        "endless",
        "silent",
        "compressed",
        "no-json",
        "deep",
        "another-id",
        "error-in-a-list",
        "error-without-message",
        "error-of-wrong-types",
        "no-handshake",
    ],
)
async def test_a_hostile_answer_ends_the_command_in_bounded_time_and_memory(
    head: str, body: bytes, endless: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_bridge, "_ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(mcp_bridge, "_REQUEST_SECONDS", 0.5)
    async with server_that_sends(head, body, endless=endless) as (url, _):
        with pytest.raises(CommandFailed) as failed:
            await mcp_bridge.connect_to(Target(url=url, token="fr_pat_x"))

    assert said in failed.value.message
    assert "fr_pat_x" not in failed.value.message


async def test_no_other_origin_gets_the_token() -> None:
    async with server_that_sends(OK, PONG) as (other, got):
        moved = f"HTTP/1.1 307 Moved\r\nLocation: {other}/mcp\r\nContent-Length: 0"
        async with server_that_sends(moved) as (url, _):
            with pytest.raises(CommandFailed, match="The server has answered 307"):
                await mcp_bridge.connect_to(Target(url=url, token="fr_pat_x"))

    assert got == []
