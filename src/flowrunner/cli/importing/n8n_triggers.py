"""Triggers of n8n as those of a flow."""

from collections.abc import Callable, Mapping
from typing import Any, Final

TRIGGERS: Final = frozenset({"webhook", "scheduleTrigger", "cron", "manualTrigger", "start", "executeWorkflowTrigger"})
Note = Callable[[str], None]


def triggers_of(kind: str, parameters: Mapping[str, Any], note: Note, *, timezone: str | None) -> list[dict[str, Any]]:
    """Return the triggers that a node becomes; none for a start by hand. Args: timezone: That of the workflow."""
    if kind == "webhook":
        return [_webhook(parameters, note)]
    if kind in ("scheduleTrigger", "cron"):
        return _schedules(parameters, note, timezone)
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
    rule = parameters.get("rule") or parameters.get("triggerTimes") or {}
    intervals = (rule.get("interval") or rule.get("item")) if isinstance(rule, Mapping) else None
    listed = [one for one in intervals if isinstance(one, Mapping)] if isinstance(intervals, list) else []
    made = [found for found in map(_interval, listed) if found is not None]
    if not made or len(made) < len(listed):
        note("a schedule could not be read: add a trigger")
    if timezone is None and any("cron" in one for one in made):
        note("the schedule follows UTC: write the 'timezone' of your n8n")
    zone = {} if timezone is None else {"timezone": timezone}
    return [{"type": "schedule", **one, **(zone if "cron" in one else {})} for one in made]


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
