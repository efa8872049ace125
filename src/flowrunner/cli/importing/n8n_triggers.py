"""Triggers of n8n as those of a flow."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from flowrunner.cli.importing.documents import Note, as_map, maps_in

_NOTES: Final = {
    "formTrigger": "the form of the workflow is that of 'Run…' here: write its fields as 'inputs'",
    "errorTrigger": "to start after failures, write a trigger of the type execution with status: [failed]",
}
TRIGGERS: Final = frozenset({
    "webhook", "scheduleTrigger", "cron", "manualTrigger", "start", "executeWorkflowTrigger", *_NOTES
})  # fmt: skip
# No more digits than a time or the number of an output has.
_WHOLE: Final = re.compile(r"\s*[0-9]{1,9}\s*")


def triggers_of(kind: str, parameters: Mapping[str, Any], note: Note, *, timezone: str | None) -> list[dict[str, Any]]:
    """Return the triggers that a node becomes; none for a start by hand. Args: timezone: That of the workflow."""
    if kind == "webhook":
        return [_webhook(parameters, note)]
    if kind in ("scheduleTrigger", "cron"):
        return _schedules(parameters, note, timezone)
    if kind in _NOTES:
        note(_NOTES[kind])
    return []


def _webhook(parameters: Mapping[str, Any], note: Note) -> dict[str, Any]:
    note("the webhook has another address than in n8n: 'flowrunner trigger list' shows it")
    verify: Any = "none"
    if parameters.get("authentication") in (None, "none"):
        note("the webhook accepts any request, as it did: 'verify' can ask for a signature")
    else:
        verify = {"scheme": "standard", "secret": "${secrets.WEBHOOK}"}
        note("the webhook was protected: say in 'verify' how, and set the secret WEBHOOK")
    request = {"body": "${trigger.body}", "headers": "${trigger.headers}", "query": "${trigger.query}"}
    made = {"type": "webhook", "verify": verify, "input": request}
    if parameters.get("responseMode") in ("lastNode", "responseNode"):
        made["respond"] = {"mode": "result"}
    return made


def _schedules(parameters: Mapping[str, Any], note: Note, timezone: str | None) -> list[dict[str, Any]]:
    intervals = maps_in(as_map(parameters.get("rule")).get("interval"))
    older = maps_in(as_map(parameters.get("triggerTimes")).get("item"))
    listed = [(one, read) for many, read in ((intervals, _interval), (older, _older_interval)) for one in many]
    made = []
    for one, read in listed:
        try:
            found = read(one)
        except _NotWhole as error:
            note(f"a schedule could not be read, because {error}: add a trigger")
            continue
        if found is None:
            note("a schedule could not be read: add a trigger")
        else:
            made.append(found)
    if not listed:
        note("a schedule could not be read: add a trigger")
    if timezone is None and any("cron" in one for one in made):
        note("the schedule follows UTC: write the 'timezone' of your n8n")
    zone = {} if timezone is None else {"timezone": timezone}
    return [{"type": "schedule", **one, **(zone if "cron" in one else {})} for one in made]


def _cron(expression: Any) -> dict[str, str] | None:
    # n8n may begin with seconds.
    return {"cron": " ".join(expression.removeprefix("=").split()[-5:])} if isinstance(expression, str) else None


def _interval(one: Mapping[str, Any]) -> dict[str, str] | None:
    """Return a rule of a Schedule Trigger. n8n leaves out what is as it is at first."""
    if (schedule := _cron(one.get("expression"))) is not None:
        return schedule
    hour, minute = _number(one, "triggerAtHour"), _number(one, "triggerAtMinute")
    match str(one.get("field") or "days").rstrip("s"):
        case "second":
            return {"every": f"{_number(one, 'secondsInterval', default=30)}s"}
        case "minute":
            return {"every": f"{_number(one, 'minutesInterval', default=5)}m"}
        case "hour":
            return {"cron": f"{minute} */{_number(one, 'hoursInterval', default=1)} * * *"}
        case "day":
            return {"cron": f"{minute} {hour} */{_number(one, 'daysInterval', default=1)} * *"}
        # There is no cron expression for every second week.
        case "week" if _number(one, "weeksInterval", default=1) == 1:
            days = one.get("triggerAtDay")
            listed = days if isinstance(days, list) else [0 if days is None else days]
            return {"cron": f"{minute} {hour} * * {','.join(str(_whole('triggerAtDay', day)) for day in listed) or 0}"}
        case "month":
            months = _number(one, "monthsInterval", default=1)
            month = "*" if months == 1 else f"*/{months}"
            return {"cron": f"{minute} {hour} {_number(one, 'triggerAtDayOfMonth', default=1)} {month} *"}
    return None


def _older_interval(one: Mapping[str, Any]) -> dict[str, str] | None:
    """Return a time of a Cron node, which a Schedule Trigger has replaced in n8n."""
    hour, minute, weekday = _number(one, "hour", default=14), _number(one, "minute"), str(one.get("weekday", "1"))
    match one.get("mode", "everyDay"):
        case "everyMinute":
            return {"every": "1m"}
        case "everyHour":
            return {"cron": f"{minute} * * * *"}
        case "everyX":
            return {"every": f"{_number(one, 'value', default=2)}{'m' if one.get('unit') == 'minutes' else 'h'}"}
        case "everyDay":
            return {"cron": f"{minute} {hour} * * *"}
        case "everyWeek" if weekday.isascii() and weekday.isdigit():
            return {"cron": f"{minute} {hour} * * {weekday}"}
        case "everyMonth":
            return {"cron": f"{minute} {hour} {_number(one, 'dayOfMonth', default=1)} * *"}
        case "custom":
            return _cron(one.get("cronExpression"))
    return None


def whole_number(found: Any) -> int | None:
    """Return a whole number, which n8n may have written as text; None for any other value."""
    if isinstance(found, str):
        return int(found) if _WHOLE.fullmatch(found) else None
    is_whole = isinstance(found, int | float) and not isinstance(found, bool) and found == found // 1
    return int(found) if is_whole else None


class _NotWhole(ValueError):
    """A value that must be a whole number, and is none. Says which."""


def _number(one: Mapping[str, Any], name: str, *, default: int = 0) -> int:
    """Raises: _NotWhole."""
    return default if one.get(name) is None else _whole(name, one[name])


def _whole(name: str, found: Any) -> int:
    """Raises: _NotWhole."""
    number = whole_number(found)
    if number is None:
        raise _NotWhole(f"its {name} is {json.dumps(found, ensure_ascii=False)[:80]}")
    return number
