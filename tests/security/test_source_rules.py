"""Static rules, each with violations planted that it must find; and what the chain of dependencies is made of."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from docs.pages import ROOT
from docs.test_locks import pins
from security.source_rules import (
    ADDRESS_BY_FLAG,
    CODE_FROM_TEXT,
    HELD_TOO_SHORT,
    LEFT_OPEN,
    SHELL,
    SQL_BY_BUILDING,
    TASK_NOT_AWAITED,
    TASK_WITHOUT_OWNER,
    TLS_UNCHECKED,
    findings,
    findings_in,
)
from support.scoreboard import Scoreboard

PLANTED: Final = {
    SQL_BY_BUILDING: (
        'run(f"Delete from flows where id = {id}")',
        'connection.execute(f"SELECT * FROM flows WHERE id = {id}")',
        'connection.execute("SELECT * FROM flows WHERE id = " + id)',
        'connection.execute("SELECT * FROM flows WHERE id = %s" % id)',
        'connection.execute("SELECT * FROM flows ORDER BY {}".format(sort))',
        'connection.execute(" ".join(parts))',
        'connection.execute(LIST + " LIMIT " + limit)',
        'connection.execute("".join(parts) + "COMMIT")',
        'connection.executemany(f"{statement}", rows)',
        'pool.fetch(f"SELECT {column} FROM t")',
        'statement = f"DELETE FROM flows WHERE id = {id!r}"',
        'statement = "select * from flows where id = " + id + " limit 1"',
        'statement = f"WITH RECURSIVE found (id) AS (SELECT {id})"',
        'connection.execute(f"PRAGMA user_version = {version}")',
        'connection.execute(f"SELECT {x:d} FROM {y}")',
        'def f(name):\n    sql = GET\n    sql += f" AND name = {name}"\n    connection.execute(sql)',
    ),
    ADDRESS_BY_FLAG: (
        "ipaddress.ip_address(host).is_private",
        "if address.is_global: connect()",
        "open = [a for a in found if not a.is_reserved]",
        "getattr(address, 'is_private')",
    ),
    TLS_UNCHECKED: (
        "requests.get(url, verify=False)",
        "session.get(url, ssl=False)",
        "context.check_hostname = False",
        "context.verify_mode = ssl.CERT_NONE",
        "context = ssl._create_unverified_context()",
        "aiohttp.TCPConnector(verify_ssl=False)",
        "requests.get(url, verify=0)",
    ),
    TASK_WITHOUT_OWNER: (
        "asyncio.create_task(work())",
        "loop.create_task(work())",
        "asyncio.ensure_future(work())",
        "asyncio.run_coroutine_threadsafe(work(), loop)",
        "_ = asyncio.create_task(work())",
        "[asyncio.create_task(work(n)) for n in range(9)]",
        "async def f():\n    task = asyncio.create_task(work())\n    await other()",
        "async def f():\n    async with asyncio.TaskGroup() as tasks:\n        loop.create_task(work())",
    ),
    TASK_NOT_AWAITED: (
        "async def close(self):\n    self._task.cancel()",
        "async def close(self):\n    await asyncio.gather(self._task)\n    self._task.cancel()",
        "async def f():\n    task = create_task(a())\n    try:\n        yield\n    finally:\n        task.cancel()",
    ),
    HELD_TOO_SHORT: (
        "async def f(self):\n    async with self._room.hold(id, size):\n        found = await read()\n    yield found",
        "def f(self):\n    with hold():\n        a()\n    if found:\n        yield found",
    ),
    LEFT_OPEN: (
        "async def f(location):\n    database = location.open()\n    await read(database)\n    await database.close()",
        "def f(self):\n    database = self.open()\n    return read(database)",
    ),
    CODE_FROM_TEXT: (
        "eval(text)", "exec(text)", "compile(text, 'x', 'exec')", "__import__(name)", "import pickle",
        "import os, marshal", "from pickle import loads", "import shelve as s", "yaml.load(text)",
        "yaml.load(text, Loader=yaml.Loader)", "yaml.unsafe_load(text)", "from yaml import full_load",
        "class L(yaml.CLoader): pass",
    ),
    SHELL: (
        "subprocess.run(text, shell=True)", "os.system(text)", "os.popen(text)", "subprocess.getoutput(text)",
        "asyncio.create_subprocess_shell(text)",
    ),
}  # fmt: skip
ALLOWED: Final = (
    "connection.execute(GET, values)", 'connection.execute("SELECT 1 " "FROM t")',
    'connection.execute(f"PRAGMA user_version = {version:d}")', "connection.execute(COLUMNS + FROM_FLOWS, values)",
    'message = f"{name} was not found"', "address.is_loopback", "session.get(url, ssl=context, verify=True)",
    "self._task = asyncio.create_task(work())", "await asyncio.create_task(work())",
    "async def f():\n    task = asyncio.create_task(work())\n    await task",
    "async def f():\n    async with asyncio.TaskGroup() as tasks:\n        tasks.create_task(work())",
    "async def f(group: asyncio.TaskGroup):\n    group.create_task(work())",
    "tasks = [asyncio.create_task(work(n)) for n in range(9)]", "session.get(url, ssl=None)",
    'def f(names):\n    count = 0\n    count += 1\n    connection.execute(GET, count)',
    'pattern = re.compile("x")', "context.eval(text)", "yaml.safe_load(text)", "class L(yaml.CSafeLoader): pass",
    'ask(f"Delete the flow {name}?")', 'warn(f"with {name}, several may begin")',
    "def close(self):\n    self._timer.cancel()",
    "async def close(self):\n    self._task.cancel()\n    await asyncio.gather(self._task, return_exceptions=True)",
    "async def f():\n    left = asyncio.ensure_future(has_left.wait())\n    left.cancel()",
    "async def f():\n    answer: asyncio.Future[bool] = loop.create_future()\n    answer.cancel()",
    "async def f():\n    timer = asyncio.get_running_loop().call_later(1, g)\n    timer.cancel()",
    "async def f(self):\n    async with self._room.hold(id, size):\n        yield await read()",
    "def f(self):\n    opened = self.open()\n    try:\n        read(opened)\n    finally:\n        opened.close()",
    "async def f(self):\n    if a:\n        async with self.hold():\n            yield a\n        return\n    yield b",
    "subprocess.run([program], shell=False)",
)  # fmt: skip


@pytest.mark.parametrize(("rule", "source"), [(rule, source) for rule in PLANTED for source in PLANTED[rule]])
def test_s59_a_planted_violation_is_found(rule: str, source: str) -> None:
    assert [finding.rule for finding in findings(source)] == [rule]


@pytest.mark.parametrize("source", ALLOWED)
def test_what_is_allowed_is_not_found(source: str) -> None:
    assert findings(source) == []


UNCHECKED_ON_REQUEST: Final = ("flowrunner/postgres/session.py", TLS_UNCHECKED)


def test_s45_s59_the_source_breaks_no_rule(scoreboard: Scoreboard) -> None:
    found = [finding for part in ("src", "demo") for finding in findings_in(ROOT / part)]
    # The two lines for a flow that says sslmode=require, which asks for encryption without a check; no third one.
    wanted = [finding for finding in found if (finding.place, finding.rule) == UNCHECKED_ON_REQUEST]
    found = [finding for finding in found if finding not in wanted]

    assert len(wanted) == 2
    scoreboard.count("static rules: violations", cases=len(PLANTED), failures=len(found))
    assert list(map(str, found)) == []


def test_s59_the_bill_of_materials_names_all_that_is_locked(tmp_path: Path) -> None:
    file = tmp_path / "sbom.json"
    subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", "--output-file", str(file),
         str(ROOT / "requirements" / "runtime.txt")],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip

    components = json.loads(file.read_text())["components"]

    assert {component["name"]: component["version"] for component in components} == pins("runtime.txt")
    assert all(
        reference["hashes"] for c in components for reference in c["externalReferences"] if "hashes" in reference
    )


def test_s59_the_known_advisories_of_every_dependency_were_looked_at() -> None:
    """The review names what is locked now, at the version that is locked: a new one has to be looked at, too."""
    text = (ROOT / "requirements" / "ADVISORIES.md").read_text()
    locked = pins("runtime.txt") | pins("temporal.txt") | pins("mcp.txt")

    missing = [f"{name} {version}" for name, version in locked.items() if f"| {name} | {version} |" not in text]

    assert missing == []
    assert re.search(r"^Reviewed on \d{4}-\d\d-\d\d", text, re.MULTILINE)
