"""How many requests of another server does a webhook trigger take, and how soon has it their result?"""

from typing import Any, Final

from bench.processes import BenchFailed, Server
from bench.wrk import wrk

_CLIENTS: Final = 32
_KEY: Final = "a key that the sender knows"
_FLOW: Final = """\
metadata: {name: "%(name)s"}
inputs: {n: {type: integer}}
triggers:
  in:
    type: webhook
    verify: {scheme: token, header: X-Key, secret: "${secrets.HOOK}"}
    input: {n: "${trigger.body.n}"}
    respond: {mode: %(mode)s}
nodes:
  a: {type: transform, params: {value: {n: "${flow.input.n}"}}, next: b}
  b: {type: transform, params: {value: {n: "${input.n}"}}}
"""


class HookBench:
    """Two flows with a webhook trigger: one answers with the result, and one at once."""

    def __init__(self, server: Server) -> None:
        self._server = server
        (account, *_) = server.call("GET", "/api/v1/accounts?limit=1")["accounts"]
        server.call("POST", f"/api/v1/accounts/{account['id']}/secrets", {"key": "HOOK", "value": _KEY})
        self._flows = {}
        self._urls = {}
        for mode in ("result", "accepted"):
            id = self._flows[mode] = server.create_flow(_FLOW % {"name": mode, "mode": mode})
            (trigger,) = server.call("GET", f"/api/v1/triggers?flow_id={id}")["triggers"]
            self._urls[mode] = trigger["url"]

    def measure(self, mode: str, seconds: float) -> dict[str, Any]:
        """32 clients that send one request after the other."""
        flow_id = self._flows[mode]
        before = self._server.count(flow_id)
        report = wrk(self._server, "hook.lua", self._urls[mode], _KEY, threads=2, connections=_CLIENTS, seconds=seconds)
        if report["not_2xx"] or report["socket_errors"]:
            raise BenchFailed(f"requests to a webhook failed: {report}")
        self._server.wait_until_all_completed(flow_id)
        made = self._server.count(flow_id) - before
        # What each client may have left behind when its time was up.
        if not report["requests"] <= made <= report["requests"] + _CLIENTS:
            raise BenchFailed(f"{report['requests']} requests were answered, and there are {made} more executions")
        return {"per_second": report["requests"] / report["seconds"], **report}
