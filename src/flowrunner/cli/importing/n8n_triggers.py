"""Triggers of n8n as those of a flow."""

from collections.abc import Callable, Mapping
from typing import Any, Final

TRIGGERS: Final = frozenset({"webhook", "scheduleTrigger", "cron", "manualTrigger", "start", "executeWorkflowTrigger"})
Note = Callable[[str], None]


def trigger_of(kind: str, parameters: Mapping[str, Any], note: Note) -> dict[str, Any] | None:
    """Return the trigger; None for a start by hand."""
    if kind == "webhook":
        note("the webhook has another address than in n8n: 'flowrunner trigger list' shows it")
        verify: Any = "none"
        if parameters.get("authentication") in (None, "none"):
            note("the webhook accepts any request, as it did: 'verify' can ask for a signature")
        else:
            verify = {"scheme": "standard", "secret": "${secrets.WEBHOOK}"}
            note("the webhook was protected: say in 'verify' how, and set the secret WEBHOOK")
        request = {"body": "${trigger.body}", "headers": "${trigger.headers}", "query": "${trigger.query}"}
        return {"type": "webhook", "verify": verify, "input": request}
    if kind in ("scheduleTrigger", "cron"):
        return _schedule(parameters, note)
    return None


def _schedule(parameters: Mapping[str, Any], note: Note) -> dict[str, Any] | None:
    rule = parameters.get("rule") or parameters.get("triggerTimes") or {}
    intervals = (rule.get("interval") or rule.get("item")) if isinstance(rule, Mapping) else None
    listed = [one for one in intervals if isinstance(one, Mapping)] if isinstance(intervals, list) else []
    if not listed:
        note("the schedule could not be read: add a trigger")
        return None
    if len(listed) > 1:
        note("the schedule has several rules: only the first is a trigger")
    made = _interval(listed[0])
    if made is None:
        note("the schedule could not be read: add a trigger")
        return None
    return {"type": "schedule", **made}


def _interval(one: Mapping[str, Any]) -> dict[str, str] | None:
    expression = one.get("expression") or one.get("cronExpression")
    if isinstance(expression, str):
        # n8n may begin with seconds.
        return {"cron": " ".join(expression.removeprefix("=").split()[-5:])}
    field = str(one.get("field") or one.get("mode") or "days").removeprefix("every").lower()
    hour, minute = _number(one, "triggerAtHour", "hour"), _number(one, "triggerAtMinute", "minute")
    match field.rstrip("s"):
        case "second":
            return {"every": f"{_number(one, 'secondsInterval', default=30)}s"}
        case "minute":
            return {"every": f"{_number(one, 'minutesInterval', default=5)}m"}
        case "hour":
            return {"cron": f"{minute} */{_number(one, 'hoursInterval', default=1)} * * *"}
        case "day":
            return {"cron": f"{minute} {hour} */{_number(one, 'daysInterval', default=1)} * *"}
        case "week":
            days = one.get("triggerAtDay", [0])
            listed = ",".join(str(day) for day in days if isinstance(day, int)) if isinstance(days, list) else "0"
            return {"cron": f"{minute} {hour} * * {listed or 0}"}
        case "month":
            return {"cron": f"{minute} {hour} {_number(one, 'triggerAtDayOfMonth', default=1)} * *"}
    return None


def _number(one: Mapping[str, Any], *names: str, default: int = 0) -> int:
    for name in names:
        if isinstance(one.get(name), int):
            return int(one[name])
    return default
