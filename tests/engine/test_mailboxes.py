"""Mailboxes in the engine: each message once, crashes, and what is stored of them."""

import asyncio
import re
import socket
from pathlib import Path
from typing import Any, Final

import pytest

from flowrunner.domain.events import Completed
from flowrunner.nodes.email_receive import EmailReceive, EmailReceiveParams
from flowrunner.plugin import JSON, StepContext
from flowrunner.security.egress_imap import EgressImapClients
from flowrunner.security.egress_policy import EgressPolicy
from flowrunner.security.name_lookups import lookup_slots
from support.databases import contents_of
from support.dependencies import Machine, machine, secret
from support.imap import PASSWORD, ImapServers, MailboxServer, Talk, mailbox, servers
from support.networks import LOOPBACK

from .events import ending

__all__ = ["mailbox", "servers"]

PAGE: Final = Path(__file__).parents[2] / "docs" / "flow-language.md"
BEGIN: Final = {"after_uid": 0, "uid_validity": None, "since": None}


def with_mailboxes(machine: Machine) -> Machine:
    machine.deps.imap = EgressImapClients(EgressPolicy([LOOPBACK]), lookup_slots())
    return machine


def flow(port: int, more: str = "") -> str:
    return f"""
nodes:
  read:
    type: email.receive
    params:
      host: localhost
      port: {port}
      username: ada
      password: "${{secrets.IMAP_PASSWORD}}"
      {more}
"""


def mail(subject: str) -> bytes:
    return f"From: ada@example.com\r\nSubject: {subject}\r\n\r\nHello\r\n".encode()


async def test_the_sample_of_the_page_starts_a_flow_for_each_message_once(
    engine: Machine, mailbox: MailboxServer
) -> None:
    (sample,) = re.findall(
        r"^```yaml\n(metadata: {name: read-orders}\n.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    here = f"host: localhost\n      port: {mailbox.port}\n      security: starttls\n      username: ada"
    sample = sample.replace("host: imap.example.com\n      username: orders@example.com", here)
    await secret(with_mailboxes(engine), "IMAP_PASSWORD", PASSWORD)
    await engine.save("nodes: {take: {type: return, params: {value: '${flow.input.mail.subject}'}}}", "take-order")
    flow_id = await engine.save(sample, "read-orders")

    async def poll(id: str, last: Any) -> Any:
        await engine.start(flow_id, {**BEGIN, **last}, id=id)
        await engine.until_ended(id)
        end = ending(await engine.events(id))
        assert isinstance(end, Completed)
        return end.result

    async def started() -> int:
        ((count,),) = await engine.rows("SELECT count(*) FROM executions WHERE flow_id = 'take-order'")
        return int(count)

    mailbox.put(mail("One"), mail("Two"))
    first = await poll("exec-1", {})
    of_two = await started()
    mailbox.put(mail("Three"))
    second = await poll("exec-2", first)
    # As after an execution that did not complete, and after the server has numbered its messages again.
    again = await poll("exec-3", first)
    renumbered = await poll(
        "exec-4", {"after_uid": 900, "uid_validity": first["uid_validity"] - 1, "since": "2026-01-01"}
    )

    assert second == again == renumbered
    assert (of_two, await started()) == (2, 3)


async def test_a_mailbox_is_read_again_and_marked_once_after_a_crash_before_the_mark(
    tmp_path: Path, servers: ImapServers
) -> None:
    def silent_at_first(client: Talk) -> None:
        if sum("STORE" in command for command in servers.commands) == 1:
            # The connection lasts as long as the process that has opened it.
            client.connection.recv(1)
            return
        client.send(client.tag + b" OK marked\r\n")

    async def is_to_mark() -> bool:
        return any("STORE" in command for command in servers.commands)

    with servers.scripted({"UID STORE": silent_at_first}) as reader:
        document = flow(reader.given["port"], "after_uid: 0\n      mark_as_read: true")
        async with machine(tmp_path / "a.db") as before:
            await secret(with_mailboxes(before), "IMAP_PASSWORD", PASSWORD)
            await before.save(document)
            await before.start()
            await before.until(is_to_mark)
        async with machine(tmp_path / "a.db") as after:
            await with_mailboxes(after).until_ended()
            end = ending(await after.events())

    assert isinstance(end, Completed)
    assert [one["text"] for one in end.result["messages"]] == ["Hello"]  # type: ignore[call-overload,index,union-attr] # a dict
    assert sum("STORE" in command for command in servers.commands) == 2


@pytest.mark.parametrize(
    ("more", "outcome"),
    [
        ("", ["Hello"]),
        # The loss that `email.mark` warns of.
        ("\n      unseen: true", []),
        ("\n      unseen: true\n    idempotent: false", "interrupted"),
    ],
    ids=["all", "unseen", "unseen, not repeated"],
)
async def test_a_crash_after_the_mark_loses_only_messages_that_the_mark_decides(
    tmp_path: Path, servers: ImapServers, monkeypatch: pytest.MonkeyPatch, more: str, outcome: Any
) -> None:
    run = EmailReceive.run
    was_marked = asyncio.Event()

    async def not_recorded(self: EmailReceive, params: EmailReceiveParams, context: StepContext) -> JSON:
        await run(self, params, context)
        was_marked.set()
        await asyncio.Event().wait()
        raise AssertionError("it ends with the process")

    def find(client: Talk) -> None:
        is_marked = any("STORE" in command for command in servers.commands)
        found = b"" if is_marked and "UNSEEN" in servers.commands[-1] else b" 1"
        client.send(b"* SEARCH" + found + b"\r\n" + client.tag + b" OK\r\n")

    with servers.scripted({"UID SEARCH": find}) as reader:
        document = flow(reader.given["port"], f"after_uid: 0\n      mark_as_read: true{more}")
        async with machine(tmp_path / "a.db") as before:
            await secret(with_mailboxes(before), "IMAP_PASSWORD", PASSWORD)
            await before.save(document)
            monkeypatch.setattr(EmailReceive, "run", not_recorded)
            await before.start()
            await was_marked.wait()
        monkeypatch.setattr(EmailReceive, "run", run)
        async with machine(tmp_path / "a.db") as after:
            await with_mailboxes(after).until_ended()
            end = ending(await after.events())

    if isinstance(end, Completed):
        assert [one["text"] for one in end.result["messages"]] == outcome  # type: ignore[call-overload,index,union-attr] # a dict
    else:
        assert end.error.type == outcome
    given = {"after_uid": 0, "mark_as_read": True, "unseen": "unseen" in more}
    warnings = [fault.code for fault in EmailReceive().check({**reader.given, **given})]
    assert warnings == ([] if outcome == ["Hello"] else ["email.mark"])


async def test_s26_a_password_that_a_mailbox_server_repeats_is_stored_nowhere(
    engine: Machine, servers: ImapServers
) -> None:
    def refuse(client: Talk) -> None:
        client.ask()
        client.send(client.tag + f" NO [AUTHENTICATIONFAILED] {PASSWORD} is wrong\r\n".encode())

    await secret(with_mailboxes(engine), "IMAP_PASSWORD", PASSWORD)
    with servers.scripted({"AUTHENTICATE": refuse}) as reader:
        events = await engine.run(flow(reader.given["port"]))

    error = ending(events).error
    assert (error.type, error.message.rpartition("] ")[2]) == ("email.login", "*** is wrong")
    assert isinstance(engine.path, Path)
    assert PASSWORD not in "\n".join(contents_of(engine.path))


@pytest.mark.parametrize("more", ["", "retry: {max: 2, delay: 1ms}"])
async def test_a_mailbox_that_is_only_read_is_retried_by_default(
    engine: Machine, servers: ImapServers, more: str
) -> None:
    def ends_at_first(client: Talk) -> None:
        if servers.commands.count("CAPABILITY") == 1:
            client.connection.shutdown(socket.SHUT_RDWR)
            raise ConnectionError
        client.send(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n" + client.tag + b" OK\r\n")

    await secret(with_mailboxes(engine), "IMAP_PASSWORD", PASSWORD)
    with servers.scripted({"CAPABILITY": ends_at_first}) as reader:
        document = flow(reader.given["port"])
        document = document + f"    {more}\n" if more else f"defaults: {{retry: {{max: 2, delay: 1ms}}}}\n{document}"
        events = await engine.run(document)

    assert isinstance(ending(events), Completed)
