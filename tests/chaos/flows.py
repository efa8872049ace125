"""The flows that are under way while faults are injected: each kind of work that the language has."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from chaos.load import GONE, Deed, Load
from support.client import FINAL

CHILD: Final = """
nodes:
  push: {type: webhook, params: {url: "RECEIVER/wait/child?most=0.05"}, next: rest}
  rest: {type: delay, params: {duration: 1100ms}, next: done}
  done: {type: return, params: {value: "${flow.input.number}"}}
"""


@dataclass(frozen=True)
class Kind:
    """A flow, what it gives for the number in its input, and what somebody has to do for it."""

    definition: str
    expected: Callable[[int], Any]
    deed: Deed | None = None


async def agree(load: Load, session: aiohttp.ClientSession, id: str) -> None:
    """Send the signal and answer the approval that an execution waits for, until it has ended."""
    is_signalled = False
    while True:
        await asyncio.sleep(0.3)
        base = load.find_url()
        if base is None:
            continue
        url = f"{base}/api/v1/executions/{id}"
        try:
            async with session.get(url) as response:
                execution = await response.json()
            if response.status == 503:
                continue
            if response.status != 200:
                load.ledger.refused.append(f"{response.status} {execution}")
                return
            if execution["status"] in FINAL:
                return
            if not is_signalled:
                async with session.post(f"{url}/signals/go", json={"payload": 7}) as response:
                    is_signalled = response.status < 300
            if any(waiting["type"] == "approval" for waiting in execution.get("waiting_for") or ()):
                async with session.post(f"{url}/approvals/ask", json={"approved": True}):
                    pass
        except GONE:
            continue


KINDS: Final = {
    "three nodes": Kind(
        """
        nodes:
          fetch: {type: http.request, params: {url: "RECEIVER/wait/fetch?most=0.05"}, next: shape}
          shape: {type: transform, params: {value: "${flow.input.number}"}, next: notify}
          notify: {type: webhook, params: {url: "RECEIVER/wait/notify?most=0.05"}, output: "${nodes.shape.result}"}
        """,
        lambda number: number,
    ),
    "a loop": Kind(
        """
        nodes:
          each:
            type: foreach
            params: {items: [1, 2, 3, 4, 5], concurrency: 3}
            nodes:
              push: {type: webhook, params: {url: "RECEIVER/wait/push?most=0.05"}, output: "${item}", next: add}
              add: {type: transform, params: {value: "${item + flow.input.number}"}}
        """,
        lambda number: [number + n for n in range(1, 6)],
    ),
    "branches": Kind(
        """
        nodes:
          race:
            type: parallel
            params: {join: any}
            branches:
              near: {nodes: {push: {type: webhook, params: {url: "RECEIVER/wait/near?most=0.05"}, output: near}}}
              far: {nodes: {push: {type: webhook, params: {url: "RECEIVER/slow?seconds=60"}, timeout: 5m}}}
              child: {nodes: {call: {type: flow, params: {flow: endless, input: {}}}}}
            next: both
          both:
            type: parallel
            branches:
              a: {nodes: {push: {type: webhook, params: {url: "RECEIVER/wait/a?most=0.05"}, output: a}}}
              b: {nodes: {push: {type: webhook, params: {url: "RECEIVER/wait/b?most=0.05"}, output: b}}}
        """,
        lambda number: {"a": "a", "b": "b"},
    ),
    "another flow": Kind(
        """
        nodes:
          call: {type: flow, params: {flow: child, input: {number: "${flow.input.number}"}}, next: send}
          send: {type: flow, params: {flow: child, input: {number: 0}, wait: false}, next: done}
          done: {type: return, params: {value: "${nodes.call.result}"}}
        """,
        lambda number: number,
    ),
    "another flow for each element": Kind(
        """
        nodes:
          each:
            type: foreach
            params: {items: [1, 2, 3], concurrency: 2}
            nodes: {call: {type: flow, params: {flow: child, input: {number: "${item}"}}}}
          """,
        lambda number: [1, 2, 3],
    ),
    "a signal and an approval": Kind(
        """
        nodes:
          both:
            type: parallel
            branches:
              paid: {nodes: {wait: {type: wait, params: {key: go}}}}
              agreed: {nodes: {ask: {type: approval, next: {approved: push}},
                               push: {type: webhook, params: {url: "RECEIVER/wait/agreed?most=0.05"}, output: "yes"}}}
        """,
        lambda number: {"paid": 7, "agreed": "yes"},
        agree,
    ),
    "concurrency": Kind(
        """
        limits: {concurrency: {max: 2}}
        nodes:
          push: {type: webhook, params: {url: "RECEIVER/wait/turn?most=0.03"}, output: "${flow.input.number}"}
        """,
        lambda number: number,
    ),
    "a wait and a handler of the end": Kind(
        """
        on_finish: tidy
        nodes:
          rest: {type: delay, params: {duration: 1200ms}, next: done}
          done: {type: return, params: {value: "${flow.input.number}"}}
          tidy: {type: webhook, params: {url: "RECEIVER/wait/tidy?most=0.05"}}
        """,
        lambda number: number,
    ),
}
ENDLESS: Final = "nodes: {hold: {type: wait, params: {key: never}}}"
