"""Reader of the key `triggers`."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, TypeVar, get_args
from zoneinfo import available_timezones

from flowrunner.domain import triggers as values
from flowrunner.domain.expression import Path, expressions_of
from flowrunner.domain.flow_names import composed
from flowrunner.domain.labels import MAX_LABELS, name_fault, value_fault
from flowrunner.domain.prepared import Prepared
from flowrunner.domain.schedules import InvalidCron, check_cron, moment_of, next_due, zone_of
from flowrunner.domain.triggers import (
    Chain,
    Respond,
    Schedule,
    Trigger,
    TriggerSpec,
    TriggerType,
    Verify,
    WebhookTrigger,
)
from flowrunner.domain.values import JSON
from flowrunner.language.context import ScopeContext
from flowrunner.language.document import Document, is_name
from flowrunner.language.expressions import CONDITION, Expressions
from flowrunner.language.inputs import must_be_given
from flowrunner.language.yaml_source import Keys

TYPES: Final[tuple[TriggerType, ...]] = ("schedule", "webhook", "execution")
MAX_TRIGGERS: Final = 100
MAX_CRON_CHARACTERS: Final = 200
MIN_EVERY_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 366 * 86400.0
LONGEST_WINDOW_SECONDS: Final = 31 * 86400.0
_DEFAULT_WINDOW_SECONDS: Final = 86400.0
LONGEST_JITTER_SECONDS: Final = 86400.0
LONGEST_ANSWER_SECONDS: Final = 300.0
MOST_SECRETS: Final = 2

_COMMON: Final = ("type", "input", "labels", "description")
SCHEDULE_KEYS: Final = (
    *_COMMON, "cron", "every", "at", "timezone", "missed", "missed_window", "overlap", "jitter", "start", "end",
)  # fmt: skip
WEBHOOK_KEYS: Final = (*_COMMON, "verify", "when", "dedupe", "respond")
CHAIN_KEYS: Final = (*_COMMON, "flow", "status", "children")
RESPOND_KEYS: Final = ("mode", "timeout")
SCHEMES: Final[tuple[values.Scheme, ...]] = get_args(values.Scheme)
# Keys of each scheme besides the scheme itself.
SCHEME_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(("standard", "github", "stripe", "slack"), ("secret",)),
    "hmac": ("secret", "header", "algorithm", "encoding", "prefix"),
    "token": ("secret", "header"),
    "none": (),
}
ALGORITHMS: Final[tuple[values.Algorithm, ...]] = get_args(values.Algorithm)
ENCODINGS: Final[tuple[values.Encoding, ...]] = get_args(values.Encoding)
MISSED: Final[tuple[values.Missed, ...]] = get_args(values.Missed)
OVERLAP: Final[tuple[values.Overlap, ...]] = get_args(values.Overlap)
RESPOND_MODES: Final[tuple[values.RespondMode, ...]] = get_args(values.RespondMode)
STATUSES: Final[tuple[values.EndStatus, ...]] = get_args(values.EndStatus)

_Choice = TypeVar("_Choice", bound=str)

_CRON_HINT: Final = 'five fields: minute hour day month weekday, as in "0 2 * * *", or @hourly, @daily, @weekly'
_FIRST_YEAR: Final = 1971
_LAST_YEAR: Final = 8999
_TIME_HINT: Final = 'write it as in "2026-12-24T18:00:00+01:00"'


def read_triggers(
    document: Document, expressions: Expressions, context: ScopeContext, *, has_limit: bool
) -> Mapping[str, Trigger]:
    """Return the triggers of a document, by name.

    Args:
        has_limit: The flow limits its concurrent executions itself.
    """
    written = document.source.value
    assert isinstance(written, dict), "a document without nodes has no triggers"
    hint = "each by its name: triggers: {nightly: {type: schedule, cron: …}}"
    triggers = document.map_at(written, (), "triggers", hint)
    if len(triggers) > MAX_TRIGGERS:
        document.fault(("triggers",), "too_long", f"must have at most {MAX_TRIGGERS} entries")
        return {}
    reader = _Reader(document, expressions, context, has_limit)
    found = {}
    for name in triggers:
        trigger = reader.trigger(triggers, name)
        if trigger is not None:
            found[name] = trigger
    return found


@dataclass(slots=True)
class _Reader:
    document: Document
    expressions: Expressions
    context: ScopeContext
    has_limit: bool

    def trigger(self, triggers: Mapping[str, JSON], name: str) -> Trigger | None:
        document, at = self.document, ("triggers", name)
        if not is_name(name):
            message = "a name has 1 to 200 printable characters, and none of / [ ]"
            document.fault(at, "trigger.name", message, key=True)
            return None
        written = triggers[name]
        if not isinstance(written, dict):
            document.fault(at, "type", "must be a map", "write {type: schedule, cron: …}")
            return None
        type = self.type(written, at)
        if type is None:
            return None
        readers: Mapping[TriggerType, Callable[[Mapping[str, JSON], Keys], TriggerSpec | None]] = {
            "schedule": self.schedule,
            "webhook": self.webhook,
            "execution": self.chain,
        }
        document.text_at(written, at, "description", limit=10_000)
        context = self.trigger_context(type)
        self.check_input(written, at)
        input = self.expressions.template(written.get("input") or {}, (*at, "input"), _NAMES, context)
        labels = self.labels(written, at, context)
        spec = readers[type](written, at)
        document.trigger_places[name] = document.code_place(at)
        if spec is None:
            return None
        trigger = Trigger(name=name, spec=spec, input=input, labels=labels)
        self.check_last(trigger, at)
        return trigger

    def check_last(self, trigger: Trigger, at: Keys) -> None:
        """Report expressions that fail before `trigger.last` has a value, and policies that make it an old one."""
        if not trigger.reads_last or not isinstance(trigger.spec, Schedule):
            return
        for key, read in (("input", trigger.input), ("labels", trigger.labels)):
            for found in () if read is None else expressions_of(read.template):
                if isinstance(found, Path) and found.root == "trigger" and found.keys[0] == "last" and found.keys[1:]:
                    message = f"'${{{found.text}}}' fails at every start: trigger.last is null before the first end"
                    hint = "write ${trigger.last?.result.since ?? ''}, with the value of the first execution"
                    self.document.fault((*at, key), "trigger.last", message, hint)
        if trigger.spec.overlap in ("allow", "queue"):
            message = f"with overlap: {trigger.spec.overlap}, several executions may begin with the same trigger.last"
            hint = "leave 'overlap' out, so that one starts when the one before it has ended"
            self.document.warn((*at, "overlap"), "trigger.last", message, hint)

    def labels(self, written: Mapping[str, JSON], at: Keys, context: ScopeContext) -> Prepared | None:
        document, place = self.document, (*at, "labels")
        labels = document.map_at(written, at, "labels", "a value for each label, by its name")
        if len(labels) > MAX_LABELS:
            document.fault(place, "too_long", f"must have at most {MAX_LABELS} entries")
        for name, value in labels.items():
            fault = name_fault(name)
            if fault is not None:
                document.fault((*place, name), "trigger.labels", fault, key=True)
            elif not isinstance(value, str | int | float):
                document.fault((*place, name), "type", "must be a text, a number or a boolean")
            elif isinstance(value, str) and "${" not in value and (fault := value_fault(value)) is not None:
                document.fault((*place, name), "trigger.labels", fault)
        return self.expressions.template(labels, place, _NAMES, context) if labels else None

    def trigger_context(self, type: TriggerType) -> ScopeContext:
        return replace(self.context, trigger=values.KNOWN_KEYS[type])

    def type(self, written: Mapping[str, JSON], at: Keys) -> TriggerType | None:
        type = written.get("type")
        if type in TYPES:
            return type
        listed = ", ".join(TYPES)
        if type is None:
            self.document.fault(at, "required", "the key 'type' is missing", f"one of: {listed}")
        else:
            hint = self.document.suggestions.did_you_mean(str(type)[:60], TYPES) or f"one of: {listed}"
            self.document.fault((*at, "type"), "trigger.type", f"unknown type of trigger '{str(type)[:60]}'", hint)
        return None

    def check_input(self, written: Mapping[str, JSON], at: Keys) -> None:
        """Report an input that the flow would reject at every start."""
        input = self.document.map_at(written, at, "input", "a value for each input, by its name")
        inputs = self.inputs
        if inputs is None or not isinstance(written.get("input", {}), dict | None):
            return
        for key in input:
            if key not in inputs:
                hint = self.document.suggestions.did_you_mean(key, inputs) or "declare it under 'inputs'"
                self.document.fault((*at, "input", key), "trigger.input", f"the flow has no input '{key[:60]}'", hint)
        missing = [name for name, schema in inputs.items() if name not in input and must_be_given(schema)]
        if missing:
            names = ", ".join(name[:60] for name in missing[:5])
            message = f"the flow would reject its input, which lacks {names}"
            self.document.fault(at, "trigger.input", message, "give it under 'input', or give the input a default")

    @property
    def inputs(self) -> Mapping[str, JSON] | None:
        source = self.document.source.value
        inputs = source.get("inputs") if isinstance(source, dict) else None
        return inputs if isinstance(inputs, dict) else None

    def choice(
        self, written: Mapping[str, JSON], at: Keys, key: str, choices: tuple[_Choice, ...], default: _Choice
    ) -> _Choice:
        value = written.get(key, default)
        if value in choices:
            return choices[choices.index(value)]
        hint = self.document.suggestions.did_you_mean(str(value)[:60], choices)
        self.document.fault((*at, key), "enum", f"must be one of: {', '.join(choices)}", hint)
        return default

    # Schedules

    def schedule(self, written: Mapping[str, JSON], at: Keys) -> Schedule | None:
        document = self.document
        document.known_keys(written, at, SCHEDULE_KEYS)
        given = [key for key in ("cron", "every", "at") if written.get(key) is not None]
        if len(given) != 1:
            message = "a schedule has one of the keys cron, every and at"
            document.fault(at, "trigger.schedule", message, 'for example cron: "0 2 * * *"', key=bool(given))
            return None
        faults = len(document.faults)
        timezone = self.timezone(written, at)
        start, end = (self.moment(written, at, key, timezone) for key in ("start", "end"))
        window = self.seconds(written, at, "missed_window", LONGEST_WINDOW_SECONDS)
        schedule = Schedule(
            cron=self.cron(written, at),
            every_seconds=self.seconds(written, at, "every", LONGEST_SECONDS, least=MIN_EVERY_SECONDS),
            at=self.moment(written, at, "at", timezone),
            timezone=timezone,
            missed=self.choice(written, at, "missed", MISSED, "latest"),
            missed_window_seconds=_DEFAULT_WINDOW_SECONDS if window is None else window,
            overlap=self.choice(written, at, "overlap", OVERLAP, "skip"),
            jitter_seconds=self.seconds(written, at, "jitter", LONGEST_JITTER_SECONDS) or 0.0,
            start=start,
            end=end,
        )
        if any(not fault.is_warning for fault in document.faults[faults:]):
            return None
        self.check_schedule(schedule, given[0], at)
        return schedule

    def check_schedule(self, schedule: Schedule, kind: str, at: Keys) -> None:
        document = self.document
        if schedule.every_seconds is not None and schedule.jitter_seconds >= schedule.every_seconds:
            document.fault((*at, "jitter"), "range", "must be shorter than 'every'")
        if schedule.cron and schedule.jitter_seconds and schedule.jitter_seconds >= _shortest_gap(schedule):
            message = "due times are closer together than the jitter, so that some of them are missed"
            hint = "make it shorter than the time between two due times"
            document.warn((*at, "jitter"), "trigger.jitter", message, hint)
        if schedule.overlap in ("queue", "replace") and self.has_limit:
            message = f"overlap: {schedule.overlap} does not go with the limits.concurrency of the flow"
            hint = "write overlap: allow, and let limits.concurrency.on_limit decide"
            document.fault((*at, "overlap"), "trigger.overlap", message, hint)
        if next_due(schedule, _LONG_AGO) is None:
            message = "the schedule never fires" if schedule.end is None else "the schedule never fires before its end"
            document.fault((*at, kind), "trigger.never", message, "no date fits it")

    def cron(self, written: Mapping[str, JSON], at: Keys) -> str | None:
        cron = written.get("cron")
        if cron is None:
            return None
        if not isinstance(cron, str) or len(cron) > MAX_CRON_CHARACTERS:
            self.document.fault((*at, "cron"), "trigger.cron", "is not a cron expression", _CRON_HINT)
            return None
        try:
            check_cron(cron)
        except InvalidCron as error:
            self.document.fault((*at, "cron"), "trigger.cron", f"is not a cron expression: {error}", _CRON_HINT)
            return None
        return cron

    def timezone(self, written: Mapping[str, JSON], at: Keys) -> str:
        name = self.document.text_at(written, at, "timezone") or "UTC"
        try:
            if not self.document.is_stored and (name in _NO_ZONES or name.startswith(_NO_PREFIXES)):
                raise ValueError(f"'{name[:60]}' is not the name of a time zone")
            zone_of(name)
        except ValueError as error:
            known = sorted(available_timezones() - _NO_ZONES)
            hint = self.document.suggestions.did_you_mean(name[:60], known) or "an IANA name, such as Europe/Berlin"
            self.document.fault((*at, "timezone"), "trigger.timezone", str(error), hint)
            return "UTC"
        return name

    def moment(self, written: Mapping[str, JSON], at: Keys, key: str, timezone: str) -> datetime | None:
        """Return a moment; one without an offset is in the trigger's time zone."""
        value = written.get(key)
        if value is None:
            return None
        try:
            moment = datetime.fromisoformat(value) if isinstance(value, str) and len(value) < 40 else None
        except ValueError:
            moment = None
        if moment is None:
            self.document.fault((*at, key), "trigger.time", "is not a date and time", _TIME_HINT)
            return None
        if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
            message = f"must be between the years {_FIRST_YEAR} and {_LAST_YEAR}"
            self.document.fault((*at, key), "trigger.time", message, "leave it out for a schedule without this limit")
            return None
        return moment.astimezone(UTC) if moment.tzinfo else moment_of(moment, timezone)

    def seconds(
        self, written: Mapping[str, JSON], at: Keys, key: str, most: float, *, least: float = 0.0
    ) -> float | None:
        seconds = self.document.duration_at(written, at, key)
        if seconds is not None and not least <= seconds <= most:
            self.document.fault((*at, key), "range", f"must be from {_written(least)} to {_written(most)}")
            return None
        # Times are stored in milliseconds.
        return None if seconds is None else round(seconds, 3)

    # Webhooks

    def webhook(self, written: Mapping[str, JSON], at: Keys) -> WebhookTrigger | None:
        document, context = self.document, self.trigger_context("webhook")
        document.known_keys(written, at, WEBHOOK_KEYS)
        verify = self.verify(written, at)
        when = dedupe = None
        if written.get("when") is not None:
            when = self.expressions.template(written["when"], (*at, "when"), _NAMES, context, CONDITION)
        if written.get("dedupe") is not None:
            dedupe = self.expressions.template(written["dedupe"], (*at, "dedupe"), _NAMES, context)
        respond = self.respond(written, at)
        return None if verify is None else WebhookTrigger(verify=verify, when=when, dedupe=dedupe, respond=respond)

    def respond(self, written: Mapping[str, JSON], at: Keys) -> Respond:
        respond, place = self.document.map_at(written, at, "respond", "write respond: {mode: result}"), (*at, "respond")
        self.document.known_keys(respond, place, RESPOND_KEYS)
        seconds = self.seconds(respond, place, "timeout", LONGEST_ANSWER_SECONDS)
        return Respond(
            mode=self.choice(respond, place, "mode", RESPOND_MODES, "accepted"),
            timeout_seconds=Respond().timeout_seconds if seconds is None else seconds,
        )

    def verify(self, written: Mapping[str, JSON], at: Keys) -> Verify | None:
        document, place = self.document, (*at, "verify")
        value = {"scheme": "none"} if written.get("verify") == "none" else written.get("verify")
        if not isinstance(value, dict):
            hint = 'write verify: {scheme: standard, secret: "${secrets.NAME}"}, or verify: none to accept any request'
            message = "must be a map" if "verify" in written else "the key 'verify' is missing"
            document.fault(place if "verify" in written else at, "required", message, hint)
            return None
        if "scheme" not in value:
            document.fault(place, "required", "the key 'scheme' is missing", f"one of: {', '.join(SCHEMES)}")
            return None
        scheme = self.choice(value, place, "scheme", SCHEMES, "none")
        if value["scheme"] not in SCHEMES:
            return None
        if scheme == "none":
            message, hint = "anybody who knows its URL can start the flow", "check a signature, or a token at least"
            document.warn(place, "trigger.unverified", message, hint)
        keys = SCHEME_KEYS[scheme]
        document.known_keys(value, place, ("scheme", *keys))
        secrets = self.secrets(value, place) if "secret" in keys else ()
        header = document.text_at(value, place, "header").lower()
        if "header" in keys and not header and not isinstance(value.get("header"), dict | list):
            document.fault(place, "required", "the key 'header' is missing", "the header of the signature or token")
        return Verify(
            scheme=scheme,
            secrets=secrets,
            header=header,
            algorithm=self.choice(value, place, "algorithm", ALGORITHMS, "sha256"),
            encoding=self.choice(value, place, "encoding", ENCODINGS, "hex"),
            prefix=document.text_at(value, place, "prefix"),
        )

    def secrets(self, written: Mapping[str, JSON], at: Keys) -> tuple[Prepared, ...]:
        document, place = self.document, (*at, "secret")
        value = written.get("secret")
        hint = 'write secret: "${secrets.NAME}"'
        if value is None:
            document.fault(at, "required", "the key 'secret' is missing", hint)
            return ()
        texts = value if isinstance(value, list) else [value]
        if not 0 < len(texts) <= MOST_SECRETS or not all(isinstance(text, str) for text in texts):
            document.fault(place, "type", f"must be an expression, or a list of at most {MOST_SECRETS}", hint)
            return ()
        found = []
        for index, text in enumerate(texts):
            keys = (*place, index) if isinstance(value, list) else place
            template = self.expressions.template(text, keys, frozenset({"secrets"}), self.context)
            # Nothing is evaluated before the sender is verified.
            if template.codes or not template.mentions.secrets:
                document.fault(keys, "trigger.secret", "must be a secret of the workspace", hint)
            found.append(template)
        return tuple(found)

    # Chains

    def chain(self, written: Mapping[str, JSON], at: Keys) -> Chain | None:
        document = self.document
        document.known_keys(written, at, CHAIN_KEYS)
        flow = document.text_at(written, at, "flow")
        if not flow.strip():
            if written.get("flow") is None or flow:
                document.fault(at, "required", "the key 'flow' is missing", "the name or id of the other flow")
            return None
        children = written.get("children", False)
        if not isinstance(children, bool):
            document.fault((*at, "children"), "type", "must be true or false")
        document.listened.setdefault(flow, document.code_place((*at, "flow")))
        return Chain(flow=composed(flow), status=self.statuses(written, at), children=children is True)

    def statuses(self, written: Mapping[str, JSON], at: Keys) -> tuple[values.EndStatus, ...]:
        value = written.get("status", ["completed"])
        place = (*at, "status")
        if not isinstance(value, list) or not value:
            hint = f"write [{value}]" if value in STATUSES else None
            self.document.fault(place, "type", f"must be a list of: {', '.join(STATUSES)}", hint)
            return ("completed",)
        for index, status in enumerate(value):
            if status not in STATUSES:
                hint = self.document.suggestions.did_you_mean(str(status)[:60], STATUSES)
                self.document.fault((*place, index), "enum", f"must be one of: {', '.join(STATUSES)}", hint)
        return tuple(status for status in STATUSES if status in value)


# Files beside the time zones, such as that of the machine, which differs between servers, and copies of the zones.
_NO_ZONES: Final = frozenset({"localtime", "posixrules", "Factory"})
_NO_PREFIXES: Final = ("posix/", "right/")
_NAMES: Final = frozenset({"trigger", "vars", "config"})
# The closest due times of a cron expression are among its first ones.
_MOST_COMPARED: Final = 8
_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


def _shortest_gap(schedule: Schedule) -> float:
    """Return the seconds between two due times of a schedule, of the first ones."""
    dues, shortest = [next_due(schedule, _LONG_AGO)], math.inf
    while (last := dues[-1]) is not None and len(dues) < _MOST_COMPARED:
        dues.append(next_due(schedule, last))
        if (following := dues[-1]) is not None:
            shortest = min(shortest, (following - last).total_seconds())
    return shortest


def _written(seconds: float) -> str:
    """Return a whole number of seconds as a document writes it."""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"
