"""The bridge `flowrunner mcp`: what it says when it cannot connect, and how it ends."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import MCPError

from api.agents import Agent, message, token_of
from support.client import Client
from support.server import Server, clean_environment


def bridge(at: Path, *arguments: str, sent: str = "", program: str = "", **variables: str) -> Any:
    """The ended command, after what it is sent on its standard input."""
    started = ["-c", program] if program else ["-m", "flowrunner"]
    return subprocess.run(
        [sys.executable, *started, "mcp", *arguments],
        cwd=at, env=clean_environment(HOME=str(at), **variables), input=sent, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


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
    sent = "not json\n" + "".join(json.dumps(line) + "\n" for line in lines)
    with subprocess.Popen(
        [sys.executable, "-m", "flowrunner", "mcp"],
        cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=clean_environment(HOME=str(tmp_path), FLOWRUNNER_URL=account.url, FLOWRUNNER_TOKEN=token_of(account)),
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(sent)
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.stdin.close()
        assert process.wait(timeout=30) == 0
        assert process.stdout.read() == ""

    by_id = {answer["id"]: answer for answer in answers}
    assert by_id[1]["result"]["serverInfo"]["name"] == "flowrunner"
    assert len(by_id[2]["result"]["tools"]) >= 13
    assert by_id["three"]["error"]["code"] == -32601


async def test_a_server_that_has_gone_is_an_error_of_each_call_and_no_end(tmp_path: Path) -> None:
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
