"""The YAML language server that editors use: installed once beside this file, and asked over its standard input."""

import asyncio
import contextlib
import fcntl
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
INSTALLED: Final = HERE / "node_modules" / "yaml-language-server" / "bin" / "yaml-language-server"
# Generous: the first start reads 20 MB of JavaScript from a disk that may be slow.
PATIENCE_SECONDS: Final = 60.0


def installed() -> Path:
    """The server's program, installed by its lock file when it is not there yet.

    Raises:
        RuntimeError: If that cannot be done; the message says why.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise RuntimeError(f"'{program}' is not installed: on Debian and Ubuntu, apt install nodejs npm")
    # npm may leave half of it behind when it is stopped, so the mark is made last.
    mark = HERE / "node_modules" / ".installed"
    lock = (HERE / "package-lock.json").read_text()
    with _alone():
        if not mark.exists() or mark.read_text() != lock:
            done = subprocess.run(
                ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=HERE,
                capture_output=True,
                text=True,
                check=False,
                timeout=100,
            )
            if done.returncode != 0:
                raise RuntimeError(f"npm ci failed: {done.stdout}{done.stderr}")
            mark.write_text(lock)
    return INSTALLED


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    with (HERE / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Editor:
    """An editor with flows open, all checked by one schema."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ids = iter(range(1, 1_000_000))
        self._names = iter(range(1, 1_000_000))
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._diagnostics: dict[str, asyncio.Future[list[dict[str, Any]]]] = {}
        self._schema: Path | None = None

    async def faults(self, text: str) -> list[str]:
        """What is underlined in a flow, as `line: message`."""
        _, diagnostics = await self._open(text)
        return [f"{d['range']['start']['line'] + 1}: {d['message']}" for d in diagnostics]

    async def completions(self, text: str) -> dict[str, str]:
        """What is offered where `|` stands, with its description."""
        return {
            item["label"]: _plain(item.get("documentation"))
            for item in (await self._ask_at("textDocument/completion", text))["items"]
        }

    async def hover(self, text: str) -> str:
        """What is told of what stands before `|`."""
        answer = await self._ask_at("textDocument/hover", text)
        return _plain(answer["contents"]) if answer else ""

    async def start(self, schema: Path) -> None:
        self._schema = schema
        await self._ask(
            "initialize",
            {
                "processId": None,
                "rootUri": None,
                "capabilities": {
                    "textDocument": {
                        "completion": {"completionItem": {"snippetSupport": True}},
                        "publishDiagnostics": {},
                    },
                    "workspace": {"configuration": True, "didChangeConfiguration": {"dynamicRegistration": True}},
                },
            },
        )
        self._send({"method": "initialized", "params": {}})

    async def read(self) -> None:
        assert self._process.stdout is not None
        while header := await self._process.stdout.readline():
            length = int(header.split(b":")[1]) if header.lower().startswith(b"content-length") else None
            while (await self._process.stdout.readline()).strip():
                pass
            assert length is not None, header
            self._take(json.loads(await self._process.stdout.readexactly(length)))

    def _take(self, message: dict[str, Any]) -> None:
        if "method" not in message:
            self._answers.pop(message["id"]).set_result(message.get("result"))
        elif message["method"] == "textDocument/publishDiagnostics":
            waiting = self._diagnostics.get(message["params"]["uri"])
            if waiting is not None and not waiting.done():
                waiting.set_result(message["params"]["diagnostics"])
        elif message["method"] == "workspace/configuration":
            assert self._schema is not None
            settings = {
                "schemas": {self._schema.as_uri(): "*.flow.yaml"},
                "schemaStore": {"enable": False},
                "validate": True,
                "completion": True,
                "hover": True,
            }
            sections = [settings if item["section"] == "yaml" else {} for item in message["params"]["items"]]
            self._send({"id": message["id"], "result": sections})
        elif "id" in message:
            self._send({"id": message["id"], "result": None})

    async def _open(self, text: str) -> tuple[str, list[dict[str, Any]]]:
        assert self._schema is not None
        uri = (self._schema.parent / f"{next(self._names)}.flow.yaml").as_uri()
        self._diagnostics[uri] = asyncio.get_running_loop().create_future()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
        self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        async with asyncio.timeout(PATIENCE_SECONDS):
            return uri, await self._diagnostics[uri]

    async def _ask_at(self, method: str, text: str) -> Any:
        before, mark, after = text.partition("|")
        assert mark, "where?"
        uri, _ = await self._open(before + after)
        position = {"line": before.count("\n"), "character": len(before) - (before.rfind("\n") + 1)}
        return await self._ask(method, {"textDocument": {"uri": uri}, "position": position})

    async def _ask(self, method: str, params: Any) -> Any:
        number = next(self._ids)
        self._answers[number] = asyncio.get_running_loop().create_future()
        self._send({"id": number, "method": method, "params": params})
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._answers[number]

    def _send(self, message: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))


@contextlib.asynccontextmanager
async def open_editor(schema: Path) -> AsyncIterator[Editor]:
    """An editor whose flows are checked by the schema in this file."""
    process = await asyncio.create_subprocess_exec(
        "node",
        str(installed()),
        "--stdio",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    editor = Editor(process)
    reading = asyncio.create_task(editor.read())
    try:
        await editor.start(schema)
        yield editor
    finally:
        reading.cancel()
        process.kill()
        await process.wait()


def _plain(documentation: Any) -> str:
    if isinstance(documentation, dict):
        return str(documentation.get("value", ""))
    return str(documentation or "")
