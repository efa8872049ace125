"""The package of the page about node types: it is installed, and each command prints what the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from docs.pages import DOCS, blocks
from docs.test_cli_pages import fits
from flowrunner.domain.values import WorkspaceId
from flowrunner.plugin import ImapServer, MailServer, SqlDatabase
from flowrunner.security.egress_mail import EgressMailClients
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.security.name_lookups import lookup_slots
from support.contexts import PlainContext
from support.databases import MARA
from support.imap import ImapServers, servers
from support.mailbox import open_mailbox
from support.networks import LOOPBACK
from support.postgres import PostgresServer, query
from support.server import clean_environment
from support.sql import Querier

__all__ = ["servers"]

PAGE: Final = DOCS / "node-types.md"
_FILE: Final = re.compile(r"^<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The environment of the tests stays as it is.
_INSTALL: Final = "python -m pip install -q --no-deps --no-build-isolation --no-index --target packages ."


async def test_the_type_that_sends_an_email_sends_it() -> None:
    page: dict[str, Any] = {}
    [sample] = [text for text in blocks(PAGE, "python") if "MailServer" in text]
    exec(sample, page)  # the page is ours
    node_type = page["StockReport"]()
    with open_mailbox() as (mailbox, port):
        client = EgressMailClients(EgressPolicy([LOOPBACK]), lookup_slots()).of(WorkspaceId(MARA))

        class ToTheMailbox:
            async def send(self, server: MailServer, **email: Any) -> Any:
                assert (server.host, server.security) == ("smtp.example.com", "starttls")
                return await client.send(MailServer(host="127.0.0.1", port=port, security="none"), **email)

        context = PlainContext(http=None, mail=ToTheMailbox())  # type: ignore[arg-type] # what the type uses
        result = await node_type.run(node_type.read({"to": "ada@example.com", "password": "x"}), context)

    ((envelope, message),) = mailbox.arrived
    assert (result, envelope.rcpt_tos) == ({"refused": []}, ["ada@example.com"])
    assert message["Message-ID"] == f"<{context.idempotency_key}@example.com>"


async def test_the_type_that_queries_a_database_changes_it(postgres: PostgresServer) -> None:
    page: dict[str, Any] = {}
    [sample] = [text for text in blocks(PAGE, "python") if "SqlDatabase" in text]
    exec(sample, page)  # the page is ours
    url = postgres.new_database()
    query(url, "CREATE TABLE stock AS SELECT 'nut' AS article, 7 AS pieces")
    node_type, real = page["TakeFromStock"](), Querier(url)
    port, name = int(url.rpartition(":")[2].partition("/")[0]), url.rpartition("/")[2]

    class ToTheServer:
        async def run(self, database: SqlDatabase, work: Any, **more: Any) -> Any:
            assert (database.host, database.security) == ("db.example.com", "verified")
            there = SqlDatabase(host="127.0.0.1", port=port, user="flowrunner", database=name, security="none")
            return await real.context.sql.run(there, work, **more)

    context = PlainContext(http=None, sql=ToTheServer())  # type: ignore[arg-type] # what the type uses
    result = await node_type.run(node_type.read({"article": "nut", "password": "x"}), context)

    assert result == [{"pieces": 6}]
    assert query(url, "SELECT pieces FROM stock") == [(6,)]


async def test_the_type_that_reads_a_mailbox_reads_it(servers: ImapServers) -> None:
    page: dict[str, Any] = {}
    [sample] = [text for text in blocks(PAGE, "python") if "ImapServer" in text]
    exec(sample, page)  # the page is ours
    node_type = page["WaitingOrders"]()
    with servers.scripted() as reader:

        class ToTheServer:
            async def run(self, server: ImapServer, work: Any, *, seconds: float) -> Any:
                assert (server.host, server.security) == ("imap.example.com", "tls")
                given = {**reader.given, "password": server.password}
                return await reader.context.imap.run(ImapServer(**given), work, seconds=seconds)

        context = PlainContext(http=None, imap=ToTheServer())  # type: ignore[arg-type] # what the type uses
        result = await node_type.run(node_type.read({"password": "x"}), context)

    assert result == ["Hello"]
    assert 'UID SEARCH UID 1:* UNSEEN SUBJECT "Order"' in servers.commands


def test_the_package_works_as_the_page_says(tmp_path: Path) -> None:
    text = PAGE.read_text()
    for name, content in _FILE.findall(text):
        (tmp_path / name).write_text(content)
    [(script, expected)] = re.findall(r"^```sh\n(.*?)^```\n\n```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert script.startswith("pip install .\n")

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace("pip install .", _INSTALL, 1)],
        cwd=tmp_path,
        env=clean_environment(
            HOME=str(tmp_path), PATH=path, PYTHONPATH=str(tmp_path / "packages"), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
            PYTEST_ADDOPTS="",
        ),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert fits(expected, done.stdout), done.stdout
