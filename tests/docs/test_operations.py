"""The metrics in docs/telemetry.md and the log events in docs/operations.md, compared with the code."""

import re
from collections.abc import Callable
from dataclasses import fields
from datetime import timedelta

from docs.pages import API, LIMITS, OPERATIONS, ROOT, TELEMETRY, code_of_calls, first_words, rows, section
from flowrunner.api import approval_form
from flowrunner.api.http import bodies, protocol
from flowrunner.domain import retention
from flowrunner.domain.callbacks import PAUSES
from flowrunner.domain.jobs import MAX_ITEMS
from flowrunner.domain.second_factor import FREE_WRONG_CODES
from flowrunner.engine import event_log, held_memory, recorder
from flowrunner.ports import system
from flowrunner.security import egress_imap, egress_mail, hashing_queue
from flowrunner.services import (
    accounts,
    approval_links,
    callbacks,
    command_logins,
    email_confirmations,
    exports,
    flow_batches,
    invitation_links,
    invitations,
    jobs,
    password_resets,
    secrets,
    sessions,
    start_slots,
    throttle,
    workspaces,
)
from flowrunner.settings import Settings
from support.server import Server


def test_every_metric_is_described_and_no_other(server: Server) -> None:
    text = server.client().get("/metrics").body.decode()
    counted = set(re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE))

    # The library adds the start time of each, and this server is without Temporal.
    counted = {name for name in counted if not name.endswith("_created")} | {"flowrunner_temporal_reachable"}
    assert set(first_words(section(TELEMETRY, "Metrics"))) == counted


def test_the_background_jobs_are_the_ones_that_there_are() -> None:
    listed = first_words(section(OPERATIONS, "Background jobs"))

    assert sorted(listed) == sorted(code_of_calls({"Background", "job", "one"}, r"[a-z_.]+") - {"one", "each"})


def test_the_limits_have_the_values_of_their_settings() -> None:
    known = {setting.name: setting for setting in fields(Settings)}
    said = {row[2].strip("`"): row[1] for row in rows(LIMITS.read_text()) if row[2].startswith("`")}

    assert {name for name in known if name.startswith(("account_", "anonymous_", "workspace_", "hook_"))} <= said.keys()
    for name, value in said.items():
        number = value.partition(" in ")[0].replace(",", "").replace(" ", "")
        assert known[name].metadata["parse"](number) == known[name].default, name
    cannot_be_removed = set(re.findall(r"`(\w+)`", LIMITS.read_text().partition("except for")[2].partition(". ")[0]))
    assert cannot_be_removed == {name for name in said if not accepts_0(known[name].metadata["parse"])}


def accepts_0(parse: Callable[[str], object]) -> bool:
    try:
        return parse("0") is None
    except ValueError:
        return False


def test_the_page_of_callbacks_says_how_many_messages_a_receiver_gets() -> None:
    text = " ".join((ROOT / "docs" / "callbacks.md").read_text().split())

    assert (
        f"at most {1 / PAUSES['standard']:.0f} messages a second from each callback, and a chat one in a second" in text
    )
    assert PAUSES["slack"] == 1.0


def test_the_limits_without_a_setting_are_the_ones_in_force() -> None:
    said = {row[0].partition(";")[0].partition(" (`")[0]: row[1] for row in rows(LIMITS.read_text())}
    sizes = (bodies.MAX_BODY_BYTES, bodies.MAX_FLOW_BODY_BYTES, bodies.MAX_BATCH_BODY_BYTES)
    minutes = throttle.WINDOW // timedelta(minutes=1)
    mailbox, chat, other = (round(60 / PAUSES[format]) for format in ("email", "slack", "standard"))

    in_force = {
        "failed logins to an account from one address, including a wrong `current_password` in its own sessions": (
            f"{throttle.FAILURES} in {minutes} minutes"
        ),
        "logins of an account from one address, including successful ones": f"{throttle.LOGINS} in a minute",
        "refreshed tokens and tickets for WebSockets of an account": f"{sessions.MOST_RENEWED} in a minute",
        "password changes of an account": f"{accounts.MOST_PASSWORDS} in a minute",
        "attempts of an account to change its own e-mail address": f"{accounts.MOST_EMAILS} in an hour",
        "tests of callbacks to one receiver": f"{mailbox}, {chat}, {other:,} in a minute",
        "exports of a workspace that are being read": f"{exports.MAX_OPEN}",
        "running jobs of a workspace": f"{jobs.MAX_RUNNING}",
        "secrets of a workspace": f"{secrets.MAX_SECRETS}",
        "callbacks of a workspace": f"{callbacks.MAX_CALLBACKS}",
        "requests of a workspace that wait to start executions": f"{start_slots.MOST_WAITING:,}",
        "the same of an account": f"{start_slots.MOST_WAITING_OF_ACCOUNT}",
        "e-mails of a workspace that are being sent by [flows](flow-language.md#emailsend)": (
            f"{egress_mail._MAILS_OF_A_WORKSPACE}"
        ),
        "mailboxes of a workspace that are being read by [`email.receive`](flow-language.md#emailreceive)": (
            f"{egress_imap._SESSIONS_OF_A_WORKSPACE}"
        ),
        "passwords waiting to be checked, in all": f"{hashing_queue.MOST_WAITING}",
        "all events of an execution": f"{event_log.MAX_EXECUTION_BYTES // 2**20} MiB",
        "memory for the values that an execution holds": f"{held_memory.MAX_EXECUTION_MEMORY // 2**20} MiB",
        "log of an execution: further lines are dropped, and nothing fails": (
            f"{event_log.MAX_LOG_LINES:,} lines of {recorder.MAX_LOG_BYTES // 2**10} KiB"
        ),
        "executions of a job": f"{MAX_ITEMS:,}",
        "flows that one deployment saves, that it deletes, and triggers of those that it saves": (
            f"{flow_batches.MAX_FLOWS}, {flow_batches.MAX_FLOWS}, {flow_batches.MAX_TRIGGERS:,}"
        ),
        "body of a login, or of the set-up": (
            f"{bodies.MAX_ANONYMOUS_BODY_BYTES // 2**10} KiB; {approval_form.MAX_FORM_BYTES // 2**10} KiB"
        ),
        "body of another request": "; ".join(f"{size // 2**20} MiB" for size in sizes),
        "headers of a request, its address, its query parameters, its line and headers together": (
            f"{protocol.MAX_HEADERS}, {protocol.MAX_URL_BYTES // 2**10} KiB, {protocol.MAX_PARAMETERS:,}, "
            f"{protocol.MAX_HEAD_BYTES // 2**10} KiB"
        ),
        "e-mails that confirm an address": (
            f"{email_confirmations.MOST_LINKS}, {email_confirmations.MOST_SENT_AGAIN} in an hour"
        ),
        "[invitations](api.md#invitations) of an account": (
            f"{invitations.MOST_SENT}, {invitation_links.MOST_SIGN_UPS} in an hour"
        ),
        "members to be added whom no account is, of one account": f"{workspaces.MOST_UNKNOWN_NAMES} in an hour",
        "links to a new password that one address requests": (
            f"{password_resets.MOST_ASKED}, {password_resets._MOST_SET} in an hour"
        ),
        "wrong codes of a [second factor](sign-on.md#second-factors) in a row": f"{FREE_WRONG_CODES}",
        "logins of the command line that an account allows in a browser": f"{command_logins._MOST_ALLOWED} in a minute",
        "requests to one approval link": f"{approval_links.MOST_REQUESTS} in a minute",
    }
    assert {name: said.get(name) for name in in_force} == in_force
    assert f"up to {system.MOST_COUNTED:,}" in section(TELEMETRY, "Metrics")
    assert f"a count at most {retention.MOST_KEPT:,}" in " ".join(API.read_text().split())


def test_every_limit_that_rejects_a_request_is_on_the_page() -> None:
    """Metrics and errors name it, and an operator looks it up."""
    text = "".join(
        path.read_text()
        for part in ("api", "domain", "services", "storage")
        for path in (ROOT / "src" / "flowrunner" / part).rglob("*.py")
    )
    # Beyond those without a message, an e-mail is left out.
    names = set(re.findall(r'limit="([a-z_]+)"(?!, message="")', text))

    assert {"account_logins", "workspace_flows"} <= names
    assert {name for name in names if f"`{name}`" not in LIMITS.read_text()} == set()


def test_the_events_to_watch_for_are_in_the_log() -> None:
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    events = first_words(section(OPERATIONS, "Watching"))

    assert len(events) > 10
    assert [event for event in events if f'"{event}"' not in source] == []
