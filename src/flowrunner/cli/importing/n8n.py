"""A flow made of a workflow of n8n: nodes by their types, and marked placeholders for the rest."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from flowrunner.cli.common import unusable
from flowrunner.cli.importing.documents import Imported, as_list, as_map, identifier, maps_in
from flowrunner.cli.importing.n8n_expressions import N8nExpressions, typed, with_values
from flowrunner.cli.importing.n8n_triggers import TRIGGERS, triggers_of, whole_number

MOST_NODES: Final = 1000
_PREFIX: Final = "n8n-nodes-base."
_AMOUNT: Final = re.compile(r"[0-9]+(\.[0-9]+)?")
_UNITS: Final = {"seconds": "s", "minutes": "m", "hours": "h", "days": "d"}
_READS: Final = re.compile(r"=?\s*(select|with|values|show|explain|table)\b", re.IGNORECASE)
_CHANGES: Final = re.compile(
    r"\b(insert|update|delete|merge|for\s+(no\s+key\s+)?update|for\s+(key\s+)?share)\b", re.IGNORECASE
)
_LIST: Final = re.compile(r"\{\{\s*\[.*\]\s*\}\}", re.DOTALL)
_BETWEEN_COMMAS: Final = re.compile(r"(?:\{\{.*?\}\}|[^,])+", re.DOTALL)
# What does the work of types that become placeholders.
_INSTEAD: Final = {
    "splitInBatches": "use 'foreach'",
    "merge": "use 'parallel'",
    "executeWorkflow": "use 'flow'",
    "removeDuplicates": "use a 'flow' with 'dedupe', or 'store'",
    "stopAndError": "use 'fail'",
    "postgres": "use 'sql'",
    "gmail": "use 'email.send'",
    "rssFeedRead": "use 'http.request', and a 'transform' that finds the items in the text",
    **dict.fromkeys(("splitOut", "aggregate", "filter", "sort", "limit", "itemLists", "xml"), "use 'transform'"),
}
# What the code of a node finds in n8n, for one item.
_CODE: Final = """\
const $json = input, items = [{{json: input}}];
const $input = {{all: () => items, first: () => items[0], last: () => items[0], item: items[0]}};
const made = (() => {{
{code}
}})();
const one = Array.isArray(made) ? made[0] : made;
return one && one.json !== undefined ? one.json : one;
"""


def flow_of(workflow: Any) -> Imported:
    """Return the flow of a workflow. Raises: CommandFailed: It is none."""
    workflow = as_map(workflow)
    nodes = as_list(workflow.get("nodes"))
    if not nodes:
        raise unusable("This is not an n8n workflow: it has no list of 'nodes'")
    if len(nodes) > MOST_NODES:
        raise unusable(f"The workflow has more than {MOST_NODES} nodes")
    name = str(workflow.get("name") or "imported")[:200]
    timezone = as_map(workflow.get("settings")).get("timezone")
    connections = as_map(workflow.get("connections"))
    return _Workflow(name, maps_in(nodes), connections, timezone if isinstance(timezone, str) else None).imported()


class _Workflow:
    def __init__(
        self, name: str, nodes: list[Mapping[str, Any]], connections: Mapping[str, Any], timezone: str | None
    ) -> None:
        self._flow = Imported(name, {})
        # "DEFAULT" is the one of the installation of n8n.
        self._timezone = None if timezone == "DEFAULT" else timezone
        self._all = {str(node.get("name")): node for node in nodes}
        self._connections = connections
        self._ids: dict[str, str] = {}
        for title, node in self._all.items():
            if not _is_trigger(node) and _type(node) != "stickyNote":
                self._ids[title] = identifier(title, self._ids.values(), otherwise="node")
        self._expressions = N8nExpressions(self._ids, self._flow.note)

    def imported(self) -> Imported:
        triggers: dict[str, Any] = {}
        starts: list[str] = []
        for title, node in self._all.items():
            if _is_trigger(node):
                starts += list(self._targets(title, 0))
                # Otherwise it would start at once what somebody has switched off.
                if node.get("disabled"):
                    self._flow.note(f"the trigger '{title}' was disabled, and is left out")
                    continue
                for found in triggers_of(_type(node), _parameters(node), self._flow.note, timezone=self._timezone):
                    triggers[identifier(title, triggers, otherwise="trigger")] = found
        for title, id in self._ids.items():
            # It starts the workflow in n8n, and reads for it.
            if _type(self._all[title]) == "emailReadImap" and not self._all[title].get("disabled"):
                triggers[identifier(title, triggers, otherwise="trigger")] = {"type": "schedule", "every": "5m"}
                starts.append(id)
        nodes = {id: self._node(title, self._all[title]) for title, id in self._ids.items()}
        if not nodes:
            raise unusable("The workflow has no nodes that do anything")
        document: dict[str, Any] = {"metadata": {"name": self._flow.name}}
        if starts:
            document["start"] = starts[0]
            if len(set(starts)) > 1:
                self._flow.note(f"triggers lead to several nodes; the flow starts at '{starts[0]}'")
        if triggers:
            document["triggers"] = triggers
        self._flow.document = {**document, "nodes": nodes}
        return self._flow

    def _targets(self, title: str, output: int) -> Iterator[str]:
        """Yield the nodes that an output of a node leads to."""
        outputs = as_list(as_map(self._connections.get(title)).get("main"))
        for target in maps_in(outputs[output]) if output < len(outputs) else ():
            if (id := self._ids.get(str(target.get("node")))) is not None:
                yield id

    def _next(self, title: str, actions: Mapping[str, int]) -> dict[str, str]:
        edges = {}
        for action, output in actions.items():
            targets = list(self._targets(title, output))
            if targets:
                edges[action] = targets[0]
            if len(targets) > 1:
                self._flow.note(
                    f"'{title}' leads to several nodes: only '{targets[0]}' follows; 'parallel' runs several"
                )
        return edges

    def _node(self, title: str, node: Mapping[str, Any]) -> dict[str, Any]:
        kind, parameters = _type(node), _parameters(node)
        make = _MAKERS.get(kind)
        made, actions = make(self, title, parameters) if make and not node.get("disabled") else (None, {})
        if node.get("disabled"):
            made, actions = {"type": "transform", "params": {"value": "${input}"}, "description": "It was disabled"}, {}
        if made is None:
            made, actions = self._placeholder(title, kind, parameters), {}
        edges = self._next(title, actions or {"default": 0})
        if not node.get("disabled"):
            edges |= self._error_edge(title, node, outputs=len(actions) or 1)
            if node.get("retryOnFail"):
                made |= self._retry(title, node, made)
        described = node.get("notes")
        if isinstance(described, str) and described:
            made.setdefault("description", described[:500])
        if node.get("credentials") and kind not in ("httpRequest", "emailSend", "emailReadImap", "postgres"):
            self._flow.note(f"'{title}' uses credentials, which are left out: name a secret")
        return {**made, **({"next": edges} if edges else {})}

    def _error_edge(self, title: str, node: Mapping[str, Any], *, outputs: int) -> dict[str, str]:
        """Return the edge for errors, if the workflow goes on after one."""
        mode = node.get("onError") or ("continueRegularOutput" if node.get("continueOnFail") else "")
        if mode not in ("continueErrorOutput", "continueRegularOutput"):
            return {}
        for target in self._targets(title, outputs if mode == "continueErrorOutput" else 0):
            self._flow.note(f"what follows an error of '{title}' reads it as 'error', and not as $json.error")
            return {"error": target}
        self._flow.note(f"'{title}' fails the flow, which ended without an error: add an 'error' edge")
        return {}

    def _retry(self, title: str, node: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
        tries, wait = whole_number(node.get("maxTries", 3)), whole_number(node.get("waitBetweenTries", 1000))
        if made["type"] not in ("http.request", "email.send", "email.receive", "sql") or tries is None or wait is None:
            self._flow.note(f"'{title}' was tried several times: add a 'retry'")
            return {}
        return {"retry": {"max": max(1, tries - 1), "delay": f"{wait}ms", "backoff": 1, "jitter": 0}}

    def _placeholder(self, title: str, kind: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return a node that fails, with what it was."""
        if (instead := _INSTEAD.get(kind)) is None and kind.startswith("@n8n/n8n-nodes-langchain."):
            instead = "use 'llm' or 'agent'"
        instead = instead or f"the type {kind} has no counterpart; 'http.request' calls an API"
        self._flow.note(f"'{title}' is a placeholder: {instead}")
        message = json.dumps(f"'{title}' of the type {kind} was not imported: replace this node")
        kept = json.dumps(parameters, ensure_ascii=False)[:2000]
        return {"type": "transform", "params": {"script": f"throw new Error({message});"}, "x-n8n": {kind: kept}}

    # Node types

    def _http(self, title: str, parameters: Mapping[str, Any]) -> "Made":
        text = self._value
        params: dict[str, Any] = {"url": text(parameters.get("url", ""))}
        method = str(parameters.get("method") or parameters.get("requestMethod") or "GET")
        if method != "GET":
            params["method"] = method
        for key, place in (("query", "queryParameters"), ("headers", "headerParameters")):
            pairs = self._pairs(parameters.get(place))
            if pairs and self._sends(title, parameters, key):
                params[key] = pairs
        body = self._pairs(parameters.get("bodyParameters"))
        if not self._sends(title, parameters, "body"):
            pass
        elif parameters.get("jsonBody"):
            params["body"] = self._json(title, str(parameters["jsonBody"]))
        elif body:
            is_form = parameters.get("contentType") == "form-urlencoded"
            params["form" if is_form else "body"] = body
        elif parameters.get("body"):
            params["body"] = text(parameters["body"])
        if parameters.get("authentication") not in (None, "none"):
            secret = identifier(title, (), otherwise="node").upper()
            params["auth"] = {"token": f"${{secrets.{secret}}}"}
            self._flow.note(f"'{title}' uses credentials: set the secret {secret}, and check how it is sent")
        return {"type": "http.request", "params": params, "output": "${result.body}"}, {}

    def _email(self, title: str, parameters: Mapping[str, Any]) -> "Made":
        options = as_map(parameters.get("options"))
        secret = identifier(title, (), otherwise="node").upper()
        params: dict[str, Any] = {
            "host": "smtp.example.com",
            "username": "user@example.com",
            "password": f"${{secrets.{secret}}}",
            "from": self._value(parameters.get("fromEmail", "")),
        }
        addresses = {
            "to": parameters.get("toEmail"),
            "cc": parameters.get("ccEmail", options.get("ccEmail")),
            "bcc": parameters.get("bccEmail", options.get("bccEmail")),
            "reply_to": options.get("replyTo"),
        }
        for name, written in addresses.items():
            if not written:
                continue
            if str(written).startswith("="):
                params[name] = self._value(written)
                self._flow.note(f"'{title}' may compute several addresses for '{name}': make it a list then")
            else:
                listed = [part.strip() for part in str(written).split(",") if part.strip()]
                params[name] = listed[0] if len(listed) == 1 else listed
        params["subject"] = self._value(parameters.get("subject", ""))
        # The first version of the node sends both; without a word the second one sends text, and later ones HTML.
        version = self._version(title)
        otherwise = {1: "both", 2: "text"}.get(version, "html")
        format = str(parameters.get("emailFormat", otherwise))
        for name, key, kind in (("body", "text", "text"), ("html", "html", "html")):
            if format in (kind, "both") and (parameters.get(key) or format == kind):
                params[name] = self._value(parameters.get(key, ""))
        if "body" not in params and "html" not in params:
            params["body"] = ""
        if options.get("attachments") or parameters.get("attachments"):
            self._flow.note(f"'{title}' sends attachments: give them as 'attachments', in base64")
        self._flow.note(f"'{title}' uses credentials: write its 'host' and 'username', and set the secret {secret}")
        return {"type": "email.send", "params": params}, {}

    def _mailbox(self, title: str, parameters: Mapping[str, Any]) -> "Made":
        secret = identifier(title, (), otherwise="node").upper()
        params: dict[str, Any] = {
            "host": "imap.example.com",
            "username": "user@example.com",
            "password": f"${{secrets.{secret}}}",
        }
        if (folder := parameters.get("mailbox", "INBOX")) != "INBOX":
            params["folder"] = self._value(folder)
        if parameters.get("downloadAttachments"):
            params["with_attachments"] = True
        params["unseen"] = True
        # n8n marks what it has read unless it is told otherwise.
        if parameters.get("postProcessAction", "read") == "read":
            params["mark_as_read"] = True
        self._flow.note(f"'{title}' uses credentials: write its 'host' and 'username', and set the secret {secret}")
        self._flow.note(
            f"'{title}' reads several messages every 5 minutes: put what follows into a 'foreach' over input.messages, "
            "and see email.receive for how to read each message once"
        )
        return {"type": "email.receive", "params": params}, {}

    def _sql(self, title: str, parameters: Mapping[str, Any]) -> "Made":
        if parameters.get("operation") != "executeQuery":
            self._flow.note(f"'{title}' writes its own SQL: use 'sql' with a query, or with 'operation: batch_insert'")
            return None, {}
        query = str(parameters.get("query", ""))
        if query.startswith("=") and "{{" in query:
            self._flow.note(f"the query of '{title}' has expressions: write $1, $2, and the values under 'args'")
        secret = identifier(title, (), otherwise="node").upper()
        params: dict[str, Any] = {"url": f"${{secrets.{secret}}}"}
        if not _READS.match(query) or _CHANGES.search(query):
            params["operation"] = "execute"
        params["query"] = self._value(query)
        given = as_map(parameters.get("options")).get("queryReplacement")
        if isinstance(given, str) and given:
            params["args"] = self._args(given)
        elif given or as_map(parameters.get("additionalFields")).get("queryParams"):
            self._flow.note(f"the parameters of '{title}' could not be read: give them as 'args'")
        self._flow.note(
            f"'{title}' uses credentials: set the secret {secret} to postgresql://user:password@host/database"
        )
        return {"type": "sql", "params": params, "output": "${result.rows}"}, {}

    def _args(self, given: str) -> Any:
        """Return the values of a query, which n8n has in one text with commas, or in an expression of a list."""
        is_expression, text = given.startswith("="), given.removeprefix("=").strip()
        if is_expression and _LIST.fullmatch(text):
            return self._value(given)
        parts = [part.strip() for part in _BETWEEN_COMMAS.findall(text)]
        return [self._value(f"={part}" if is_expression else part) for part in parts if part]

    def _version(self, title: str) -> Any:
        return self._all[title].get("typeVersion", 1)

    def _sends(self, title: str, parameters: Mapping[str, Any], part: str) -> bool:
        """Return whether a part of a request is sent: since the third version, what is not stays in the parameters."""
        version = self._version(title)
        return not isinstance(version, int | float) or version < 3 or bool(parameters.get(f"send{part.title()}"))

    def _if(self, title: str, parameters: Mapping[str, Any]) -> "Made":
        when = self._expressions.condition(parameters.get("conditions"), parameters.get("combineOperation"))
        cases = [{"when": when, "action": "yes"}]
        return {"type": "switch", "params": {"cases": cases, "default_action": "no"}}, {"yes": 0, "no": 1}

    def _switch(self, title: str, parameters: Mapping[str, Any]) -> "Made":
        rules = as_map(parameters.get("rules"))
        # In the first version, a rule without an output leads to the first one, and compares numbers.
        is_first = self._version(title) == 1
        cases, actions = [], {}
        for number, rule in enumerate(as_list(rules.get("values") or rules.get("rules"))):
            if not isinstance(rule, Mapping):
                continue
            conditions = rule.get("conditions")
            if conditions is None:
                compared = {"value1": parameters["value1"], **rule} if "value1" in parameters else rule
                kind = str(parameters.get("dataType", "number" if is_first else "string"))
                conditions = {kind: [compared]}
            output = whole_number(rule.get("output", 0 if is_first else number))
            action = f"case_{number + 1}"
            cases.append({"when": self._expressions.condition(conditions, None), "action": action})
            actions[action] = number if output is None else output
        if not cases:
            self._flow.note(f"the rules of '{title}' could not be read")
            return None, {}
        fallback = parameters.get("fallbackOutput", as_map(parameters.get("options")).get("fallbackOutput"))
        # The text "extra" is an output after those of the rules; "none", -1 and nothing lead nowhere.
        output = len(cases) if fallback == "extra" else whole_number(fallback)
        if output is not None and output >= 0:
            actions["default"] = output
        return {"type": "switch", "params": {"cases": cases}}, actions

    def _set(self, title: str, parameters: Mapping[str, Any]) -> "Made":
        if parameters.get("jsonOutput"):
            return {"type": "transform", "params": {"value": self._json(title, str(parameters["jsonOutput"]))}}, {}
        entries = as_map(parameters.get("assignments")).get("assignments")
        if entries is None:
            groups = as_map(parameters.get("values")).items()
            entries = [{"type": kind, **one} for kind, group in groups for one in maps_in(group)]
        fields = {str(one.get("name")): typed(one.get("value"), one.get("type")) for one in maps_in(entries)}
        keeps = parameters.get("includeOtherFields", not parameters.get("keepOnlySet", "assignments" in parameters))
        if not keeps:
            return {
                "type": "transform",
                "params": {"value": {name: self._value(one) for name, one in fields.items()}},
            }, {}
        mapping = ", ".join(f"{json.dumps(name)}: {self._expressions.operand(one)}" for name, one in fields.items())
        return {"type": "transform", "params": {"script": f"return {{...input, {mapping}}};"}}, {}

    def _script(self, title: str, parameters: Mapping[str, Any]) -> "Made":
        code = parameters.get("jsCode") or parameters.get("functionCode")
        if not isinstance(code, str):
            return None, {}
        self._flow.note(f"'{title}' gets one item: check its code")
        made = with_values(code)
        if "$vars" in made:
            reason = "which flows do not know: write config.NAME, and rename a variable 'config' of its own"
            self._flow.note(f"'{title}' has $vars, {reason}")
        return {"type": "transform", "params": {"script": _CODE.format(code=made)}}, {}

    def _wait(self, title: str, parameters: Mapping[str, Any]) -> "Made":
        resume = parameters.get("resume", "timeInterval")
        if resume == "specificTime":
            until = self._value(parameters.get("dateTime", ""))
            if _lacks_zone(until):
                zone = f" of {self._timezone}" if self._timezone else ""
                self._flow.note(f"'{title}' waits until a time without a time zone: add Z or an offset{zone}")
            return {"type": "delay", "params": {"until": until}}, {}
        if resume in ("webhook", "form"):
            self._flow.note(f"'{title}' waits for the signal '{self._ids[title]}', not for a request")
            return {"type": "wait", "params": {"key": self._ids[title]}}, {}
        # The first version of the node waits for an hour if nothing is said, later ones for five seconds.
        is_first = self._version(title) == 1
        amount = parameters.get("amount", 1 if is_first else 5)
        unit = _UNITS.get(str(parameters.get("unit", "hours" if is_first else "seconds")))
        made = amount.strip() if isinstance(amount, str) else json.dumps(amount)
        if unit is None or not (made.startswith("=") or _AMOUNT.fullmatch(made)):
            self._flow.note(f"the time that '{title}' waits could not be read")
            return None, {}
        return {"type": "delay", "params": {"duration": f"{self._value(made)}{unit}"}}, {}

    def _respond(self, title: str, parameters: Mapping[str, Any]) -> "Made":
        body = parameters.get("responseBody")
        sent = "${input}" if not body else self._json(title, str(body))
        return {"type": "return", "params": {"value": sent}}, {}

    def _pass_on(self, title: str, parameters: Mapping[str, Any]) -> "Made":
        return {"type": "transform", "params": {"value": "${input}"}}, {}

    # Values

    def _value(self, found: Any) -> Any:
        return self._expressions.value(found)

    def _pairs(self, group: Any) -> dict[str, Any]:
        entries = maps_in(as_map(group).get("parameters"))
        return {str(one.get("name")): self._value(one.get("value")) for one in entries}

    def _json(self, title: str, text: str) -> Any:
        """Return JSON that has expressions in it."""
        try:
            found = json.loads(text.removeprefix("="))
            return self._value(_marked(found) if text.startswith("=") else found)
        except (ValueError, RecursionError):
            self._flow.note(f"the JSON of '{title}' is made of text: check it")
            return self._value(text)


Made = tuple[dict[str, Any] | None, Mapping[str, int]]
_MAKERS: Final = {
    "httpRequest": _Workflow._http, "emailSend": _Workflow._email,
    "emailReadImap": _Workflow._mailbox, "postgres": _Workflow._sql, "if": _Workflow._if,
    "switch": _Workflow._switch, "set": _Workflow._set,
    "code": _Workflow._script, "function": _Workflow._script, "wait": _Workflow._wait,
    "respondToWebhook": _Workflow._respond, "noOp": _Workflow._pass_on,
}  # fmt: skip


def _marked(found: Any) -> Any:
    """Return JSON whose texts are marked as those that have expressions in them."""
    if isinstance(found, dict):
        return {name: _marked(part) for name, part in found.items()}
    if isinstance(found, list):
        return [_marked(part) for part in found]
    return f"={found}" if isinstance(found, str) else found


def _lacks_zone(moment: Any) -> bool:
    try:
        return datetime.fromisoformat(moment).tzinfo is None
    except (TypeError, ValueError):
        return False


def _type(node: Mapping[str, Any]) -> str:
    return str(node.get("type", "")).removeprefix(_PREFIX)


def _is_trigger(node: Mapping[str, Any]) -> bool:
    return _type(node) in TRIGGERS


def _parameters(node: Mapping[str, Any]) -> Mapping[str, Any]:
    return as_map(node.get("parameters"))
