"""The key `triggers` of a document: what is read, and the faults with their places and hints."""

from datetime import UTC, datetime
from typing import Any

import pytest

from flowrunner.domain.expression import render
from flowrunner.domain.triggers import Chain, Respond, Schedule, Trigger, WebhookTrigger
from flowrunner.language import read_flow, read_stored_flow, study_flow
from support.flows import specs

NODES = "nodes: {a: {type: return}}\n"


def triggers(text: str) -> dict[str, Trigger]:
    return dict(read_flow(f"{NODES}triggers:\n{text}", specs()).triggers)


def spec(text: str) -> Any:
    return triggers(f"  t: {text}")["t"].spec


def told(text: str, before: str = NODES) -> list[tuple[str, str, str | None]]:
    reading = study_flow(f"{before}triggers: {{t: {text}}}", specs())
    return [(fault.code, fault.path, fault.hint) for fault in reading.faults]


def test_a_schedule_is_read_with_its_defaults() -> None:
    assert spec('{type: schedule, cron: "0 2 * * *"}') == Schedule(
        cron="0 2 * * *",
        timezone="UTC",
        missed="latest",
        missed_window_seconds=86_400,
        overlap="skip",
        jitter_seconds=0,
    )


def test_every_key_of_a_schedule_is_read() -> None:
    written = (
        "{type: schedule, every: 15m, timezone: Europe/Berlin, missed: all, missed_window: 2h, overlap: queue,"
        ' jitter: 30s, start: "2026-12-24T18:00:00", end: "2027-01-01T00:00:00Z"}'
    )

    assert spec(written) == Schedule(
        every_seconds=900,
        timezone="Europe/Berlin",
        missed="all",
        missed_window_seconds=7200,
        overlap="queue",
        jitter_seconds=30,
        # Without an offset, a moment is in the time zone of the trigger.
        start=datetime(2026, 12, 24, 17, tzinfo=UTC),
        end=datetime(2027, 1, 1, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("written", "zone", "read"),
    [
        ("2027-03-28T01:59:59", "Europe/Berlin", datetime(2027, 3, 28, 0, 59, 59, tzinfo=UTC)),
        # The clock goes from 02:00 to 03:00.
        ("2027-03-28T02:00:00", "Europe/Berlin", datetime(2027, 3, 28, 1, tzinfo=UTC)),
        ("2027-03-28T02:30:30", "Europe/Berlin", datetime(2027, 3, 28, 1, tzinfo=UTC)),
        ("2027-03-28T03:00:00", "Europe/Berlin", datetime(2027, 3, 28, 1, tzinfo=UTC)),
        # It shows 02:30 twice.
        ("2027-10-31T02:30:00", "Europe/Berlin", datetime(2027, 10, 31, 0, 30, tzinfo=UTC)),
        # This one left out a day.
        ("2011-12-30T12:00:00", "Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ],
)
def test_a_moment_that_a_clock_leaves_out_is_the_first_one_after_it(written: str, zone: str, read: datetime) -> None:
    once = spec(f'{{type: schedule, at: "{written}", timezone: {zone}}}')

    assert isinstance(once, Schedule)
    assert once.at == read


def test_a_moment_is_read_in_utc() -> None:
    once = spec('{type: schedule, at: "2026-12-24T18:00:00+01:00"}')

    assert once.at == datetime(2026, 12, 24, 17, tzinfo=UTC)
    assert once.at.tzinfo is UTC


def test_a_window_of_no_time_is_none() -> None:
    schedule = spec("{type: schedule, every: 1h, missed_window: 0s}")

    assert isinstance(schedule, Schedule)
    assert schedule.missed_window_seconds == 0


def test_the_bounds_of_a_duration_are_written_as_in_a_document() -> None:
    flow = "nodes: {a: {type: return}}\ntriggers: {t: {type: schedule, every: 2000d, missed_window: 90d}}"
    reading = study_flow(flow, specs())

    assert [fault.message for fault in reading.faults] == ["must be from 1s to 366d", "must be from 0s to 31d"]


def test_a_webhook_is_read_with_its_defaults() -> None:
    found = spec('{type: webhook, verify: {scheme: github, secret: "${secrets.HOOK}"}}')

    assert isinstance(found, WebhookTrigger)
    assert (found.verify.scheme, found.when, found.dedupe, found.respond) == ("github", None, None, Respond())
    assert [secret.mentions.secrets for secret in found.verify.secrets] == [{"HOOK"}]


def test_two_secrets_are_accepted_while_a_sender_changes_its_own() -> None:
    found = spec('{type: webhook, verify: {scheme: token, header: X-Token, secret: ["${secrets.A}", "${secrets.B}"]}}')

    assert [secret.mentions.secrets for secret in found.verify.secrets] == [{"A"}, {"B"}]
    assert found.verify.header == "x-token"


def test_a_chain_is_read_with_its_defaults() -> None:
    assert spec("{type: execution, flow: order-sync}") == Chain(flow="order-sync", status=("completed",))
    assert spec("{type: execution, flow: x, status: [failed, completed], children: true}") == Chain(
        flow="x", status=("completed", "failed"), children=True
    )


def test_the_input_reads_the_trigger() -> None:
    found = triggers('  t: {type: schedule, every: 1h, input: {day: "${trigger.due_at}", zone: eu}}')["t"]

    assert render(found.input.template, {"trigger": {"due_at": "D"}}) == {"day": "D", "zone": "eu"}


@pytest.mark.parametrize(
    ("settings", "own"),
    [
        ("type: schedule, every: 1h", {"due_at"}),
        ('type: webhook, verify: {scheme: github, secret: "${secrets.HOOK}"}', {"body", "headers", "query"}),
        ("type: execution, flow: order-sync", {"execution"}),
    ],
)
def test_the_input_reads_the_keys_of_its_own_type_and_no_others(settings: str, own: set[str]) -> None:
    others = {"due_at", "body", "headers", "query", "execution"} - own
    names = {"type", "name", "at"} | own | others
    written = ", ".join(f'{name}: "${{trigger.{name}}}"' for name in names)

    found = {path for _, path, _ in told(f"{{{settings}, input: {{{written}}}}}")}

    assert found == {f"triggers.t.input.{name}" for name in others}


FAULTS = {
    "an unknown type": ("{type: cron}", [("trigger.type", "triggers.t.type", "one of: schedule, webhook, execution")]),
    "no type": ("{cron: '* * * * *'}", [("required", "triggers.t", "one of: schedule, webhook, execution")]),
    "an unknown key": (
        "{type: schedule, every: 1h, overlaps: skip}",
        [("unknown_key", "triggers.t.overlaps", "did you mean 'overlap'?")],
    ),
    "nothing due": (
        "{type: schedule}",
        [("trigger.schedule", "triggers.t", 'for example cron: "0 2 * * *"')],
    ),
    "two kinds of due times": (
        "{type: schedule, every: 1h, cron: '* * * * *'}",
        [("trigger.schedule", "triggers.t", 'for example cron: "0 2 * * *"')],
    ),
    "an unknown time zone": (
        "{type: schedule, every: 1h, timezone: Europe/Berln}",
        [("trigger.timezone", "triggers.t.timezone", "did you mean 'Europe/Berlin'?")],
    ),
    "the time zone of the machine": (
        "{type: schedule, every: 1h, timezone: localtime}",
        [("trigger.timezone", "triggers.t.timezone", "an IANA name, such as Europe/Berlin")],
    ),
    "a time zone with leap seconds": (
        "{type: schedule, every: 1h, timezone: right/Europe/Berlin}",
        [("trigger.timezone", "triggers.t.timezone", "did you mean 'Europe/Berlin'?")],
    ),
    "a short interval": ("{type: schedule, every: 100ms}", [("range", "triggers.t.every", None)]),
    "a jitter beyond the interval": (
        "{type: schedule, every: 10s, jitter: 10s}",
        [("range", "triggers.t.jitter", None)],
    ),
    "an end before the first due time": (
        '{type: schedule, at: "2026-12-24T18:00:00Z", end: "2026-12-24T00:00:00Z"}',
        [("trigger.never", "triggers.t.at", "no date fits it")],
    ),
    "no time": (
        "{type: schedule, at: tomorrow}",
        [("trigger.time", "triggers.t.at", 'write it as in "2026-12-24T18:00:00+01:00"')],
    ),
    "a time beyond those that schedules have": (
        '{type: schedule, every: 1h, end: "9999-12-31T23:59:59Z"}',
        [("trigger.time", "triggers.t.end", "leave it out for a schedule without this limit")],
    ),
    "a policy of another name": (
        "{type: schedule, every: 1h, missed: last}",
        [("enum", "triggers.t.missed", "did you mean 'latest'?")],
    ),
    "no check of the sender": (
        "{type: webhook}",
        [
            (
                "required",
                "triggers.t",
                'write verify: {scheme: standard, secret: "${secrets.NAME}"}, or verify: none to accept any request',
            )
        ],
    ),
    "a secret in the document": (
        "{type: webhook, verify: {scheme: stripe, secret: whsec_123}}",
        [("trigger.secret", "triggers.t.verify.secret", 'write secret: "${secrets.NAME}"')],
    ),
    "a secret that would need JavaScript before the sender is verified": (
        '{type: webhook, verify: {scheme: stripe, secret: "${secrets.A.trim()}"}}',
        [("trigger.secret", "triggers.t.verify.secret", 'write secret: "${secrets.NAME}"')],
    ),
    "a scheme without its header": (
        '{type: webhook, verify: {scheme: hmac, secret: "${secrets.A}"}}',
        [("required", "triggers.t.verify", "the header of the signature or token")],
    ),
    "no status": (
        "{type: execution, flow: x, status: []}",
        [("type", "triggers.t.status", None)],
    ),
    "a status of another name": (
        "{type: execution, flow: x, status: [complete]}",
        [("enum", "triggers.t.status[0]", "did you mean 'completed'?")],
    ),
    "an expression about another type": (
        '{type: schedule, every: 1h, input: {a: "${trigger.body}"}}',
        [("expression.unknown_name", "triggers.t.input.a", "known: at, due_at, due_local, last, name, type")],
    ),
}


@pytest.mark.parametrize(("written", "faults"), FAULTS.values(), ids=FAULTS)
def test_a_mistake_is_told_with_its_place(written: str, faults: list[tuple[str, str, str | None]]) -> None:
    assert told(written) == faults


@pytest.mark.parametrize(
    "cron", ["0 2 * *", "0 2 * * * *", "60 * * * *", "0 2 30 2 *", "@reboot", "0 2 * * FUNDAY", ""]
)
def test_a_wrong_cron_expression_is_told(cron: str) -> None:
    ((code, path, hint),) = told(f'{{type: schedule, cron: "{cron}"}}')

    assert (code, path) == ("trigger.cron", "triggers.t.cron")
    assert hint is not None
    assert hint.startswith("five fields")


def test_an_input_that_the_flow_would_reject_is_told() -> None:
    before = f"inputs: {{region: {{type: string}}, limit: {{type: integer, default: 5}}}}\n{NODES}"

    assert told("{type: schedule, every: 1h, input: {region: eu}}", before) == []
    assert told("{type: schedule, every: 1h, input: {region: eu, limt: 1}}", before) == [
        ("trigger.input", "triggers.t.input.limt", "did you mean 'limit'?")
    ]
    assert [(code, path) for code, path, _ in told("{type: schedule, every: 1h}", before)] == [
        ("trigger.input", "triggers.t")
    ]


def test_an_unverified_webhook_is_said_aloud() -> None:
    reading = study_flow(f"{NODES}triggers: {{t: {{type: webhook, verify: none}}}}", specs())

    assert [(fault.code, fault.is_warning) for fault in reading.faults] == [("trigger.unverified", True)]
    assert reading.flow is not None


@pytest.mark.parametrize(
    ("name", "is_one"),
    [("a b", True), ("x" * 200, True), ("x" * 201, False), ("a/b", False), ("a[0]", False), ('"a\\nb"', False)],
)
def test_the_name_of_a_trigger_is_one_that_addresses_and_paths_may_hold(name: str, *, is_one: bool) -> None:
    reading = study_flow(f"{NODES}triggers:\n  {name}: {{type: schedule, every: 1h}}\n", specs())

    assert [fault.code for fault in reading.faults] == ([] if is_one else ["trigger.name"])
    assert (reading.flow is not None) == is_one


@pytest.mark.parametrize(
    ("cron", "jitter", "is_told"),
    [
        ("*/5 * * * *", "5m", True),
        ("*/5 * * * *", "299s", False),
        ("0,10 9 1 1 *", "10m", True),
        ("0 9 * * 1", "23h", False),
        ("0 0 29 2 *", "1d", False),
    ],
)
def test_a_jitter_that_makes_due_times_miss_is_a_warning(cron: str, jitter: str, is_told: bool) -> None:
    written = f'{NODES}triggers: {{t: {{type: schedule, cron: "{cron}", jitter: {jitter}}}}}'

    found = [(fault.code, fault.path, fault.is_warning) for fault in study_flow(written, specs()).faults]

    assert found == ([("trigger.jitter", "triggers.t.jitter", True)] if is_told else [])


@pytest.mark.parametrize(("overlap", "fits"), [("allow", True), ("skip", True), ("queue", False), ("replace", False)])
def test_what_an_overlap_would_end_or_hold_back_is_refused_beside_the_limit_of_the_flow(
    overlap: str, fits: bool
) -> None:
    limited, written = (
        f"limits: {{concurrency: {{max: 1}}}}\n{NODES}",
        f"{{type: schedule, every: 1h, overlap: {overlap}}}",
    )

    assert [code for code, _, _ in told(written, limited)] == ([] if fits else ["trigger.overlap"])
    assert told(written, NODES) == []


def test_a_stored_flow_runs_although_a_trigger_cannot_be_read_any_more() -> None:
    flow = read_stored_flow(f"{NODES}triggers: {{t: {{type: sunrise}}}}", specs())

    assert flow.triggers == {}


@pytest.mark.parametrize(
    ("written", "reads"),
    [
        ('{type: schedule, every: 1h, input: {since: "${trigger.last?.result.since}"}}', True),
        ("{type: schedule, every: 1h, input: {since: \"${trigger['last']}\"}}", True),
        ('{type: schedule, every: 1h, labels: {after: "${trigger.last?.id ?? 0}"}}', True),
        ('{type: schedule, every: 1h, input: {all: "${trigger}", due: "${trigger.due_at}"}}', False),
        ("{type: schedule, every: 1h}", False),
    ],
)
def test_it_is_known_which_schedules_read_their_last_execution(written: str, reads: bool) -> None:
    assert triggers(f"  t: {written}")["t"].reads_last is reads


def test_the_keys_of_the_last_execution_are_known() -> None:
    assert told('{type: schedule, every: 1h, input: {x: "${trigger.last?.ended_at}"}}') == [
        ("expression.unknown_name", "triggers.t.input.x", "known: completed_at, due_at, id, result, started_at")
    ]
    # Only schedules have one.
    assert [code for code, _, _ in told('{type: execution, flow: f, input: {x: "${trigger.last?.id}"}}')] == [
        "expression.unknown_name"
    ]


@pytest.mark.parametrize("key", ["input", "labels"])
def test_what_fails_until_an_execution_has_completed_is_a_fault(key: str) -> None:
    written = f'{{type: schedule, every: 1h, {key}: {{x: "${{trigger.last.result.x}}"}}}}'

    assert [(code, path) for code, path, _ in told(written)] == [("trigger.last", f"triggers.t.{key}")]


@pytest.mark.parametrize(
    ("overlap", "codes"), [("skip", []), ("replace", []), ("allow", ["trigger.last"]), ("queue", ["trigger.last"])]
)
def test_executions_beside_each_other_that_read_the_last_one_are_warned_about(overlap: str, codes: list[str]) -> None:
    written = f'{{type: schedule, every: 1h, overlap: {overlap}, input: {{x: "${{trigger.last?.id}}"}}}}'
    reading = study_flow(f"{NODES}triggers: {{t: {written}}}", specs())

    assert [(fault.code, fault.is_warning) for fault in reading.faults] == [(code, True) for code in codes]
