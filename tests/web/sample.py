"""Flows and executions of the kind that people have, for pictures of the interface and its tests."""

from typing import Any, Final

from support.client import Client

FAILING: Final = """\
metadata: {name: order-sync, description: Pull orders and push them on, version: "1.4.0", tags: [orders, nightly]}
inputs:
  region: {type: string, default: eu, description: Which shops}
  ask_above: {type: integer, minimum: 0, default: 50}
  broken: {type: boolean, default: false}
nodes:
  fetch:
    type: transform
    params:
      script: |
        console.log("40 orders from " + flow.input.region);
        const order = (_, i) => ({id: 1001 + i, customer: ["Ada", "Bo", "Cy"][i % 3], total: 74.5 + i});
        return Array.from({length: 40}, order);
    next: route
  route:
    type: switch
    params:
      cases:
        - {when: "input.length == 0", action: empty}
        - {when: "input.length > flow.input.ask_above", action: many}
    next: {empty: nothing, many: ask, default: push_all}
  nothing: {type: return, params: {value: {pushed: 0}}}
  ask:
    type: approval
    params:
      prompt: "Push ${nodes.fetch.result.length} orders to the warehouse?"
      form:
        type: object
        required: [reason]
        properties:
          reason: {type: string, title: Reason, description: It is kept with the execution}
          most: {type: integer, title: At most, minimum: 1, default: 40}
          priority: {enum: [low, normal, high], title: Priority, default: normal}
          notify: {type: boolean, title: Notify the customers}
    timeout: 1d
    next: {approved: push_all, rejected: nothing, timeout: nothing}
  push_all:
    type: foreach
    params: {items: "${nodes.fetch.result}", as: order, concurrency: 5}
    nodes:
      check:
        type: transform
        params: {value: "${{id: order.id, total: order.total * 1.2}}"}
        next: {default: push}
      push:
        type: transform
        params:
          script: |
            if (flow.input.broken && order.id == 1012) {
              console.error("the warehouse answered 503");
              throw new Error("HTTP request failed with status 503");
            }
            return {pushed: order.id};
        retry: {max: 2, delay: 0.2s, errors: [script]}
    next: {default: settle, error.timeout: give_up}
  settle: {type: delay, params: {duration: 0.3s}, next: done}
  done: {type: return, params: {value: {pushed: "${nodes.push_all.result.length}"}}}
  give_up:
    type: fail
    params: {error: orders.unpushed, message: "Not every order reached the warehouse: ${error.message}"}
"""

APPROVED: Final = """\
metadata: {name: approve-expense, description: Ask before money leaves, tags: [finance]}
inputs:
  customer: {type: string, default: Ada}
  amount: {type: number, default: 120}
nodes:
  ask:
    type: approval
    params:
      prompt: "Refund ${flow.input.amount} € to ${flow.input.customer}?"
      form:
        type: object
        required: [amount]
        properties:
          amount: {type: number, title: Amount, minimum: 0}
          note: {type: string, title: Note}
    next: {approved: refund, rejected: stop}
  refund: {type: return, params: {value: {refunded: "${input.data.amount}"}}}
  stop: {type: fail, params: {error: refund.refused, message: It was rejected}}
"""

SHORT: Final = """\
metadata: {name: report-weekly, description: Numbers for Monday, tags: [reports]}
triggers:
  asked: {type: webhook, verify: {scheme: none}, description: A colleague asks for it}
  monday: {type: schedule, cron: "0 6 * * 1", timezone: Europe/Berlin}
nodes:
  collect:
    type: parallel
    branches:
      sales: {nodes: {sum: {type: transform, params: {script: "console.info('sales are in'); return 41250"}}}}
      visits:
        nodes:
          count: {type: delay, params: {duration: 0.2s}, next: number}
          number: {type: transform, params: {value: 1832}}
    next: write
  write: {type: log, params: {message: "Report written", data: "${input}"}, next: done}
  done: {type: return, params: {value: {report: "week 5", parts: "${nodes.collect.result}"}}}
"""

LONG: Final = """\
metadata: {name: triage-mail, description: Sort what has arrived, tags: [mail]}
inputs: {seconds: {type: integer, default: 600}}
nodes:
  fetch: {type: log, params: {message: "12 messages"}, next: warn}
  warn: {type: log, params: {message: "2 without a subject", level: warn}, next: classify}
  classify: {type: delay, params: {duration: "${flow.input.seconds}s"}, next: done}
  done: {type: return, params: {value: sorted}}
"""


def save(client: Client) -> dict[str, str]:
    """Save the flows; return their ids by their names."""
    documents = {"order-sync": FAILING, "approve-expense": APPROVED, "report-weekly": SHORT, "triage-mail": LONG}
    return {name: client.new_flow(text, name=name) for name, text in documents.items()}


def fill(client: Client, flows: dict[str, str] | None = None) -> dict[str, Any]:
    """Run the flows, which are saved before if they are not yet; return the ids of executions in each state."""
    flows = flows or save(client)
    orders, expense, report, mail = flows.values()
    callback = client.post(
        "/api/v1/callbacks", {"name": "Alerts", "url": "http://127.0.0.1:9/alerts", "events": ["execution.failed"]}
    ).json["id"]
    asked, monday = client.get("/api/v1/triggers", flow_id=report).json["triggers"]
    assert client.post(asked["url"], {"week": 5}).status == 202
    started = [client.run(report) for _ in range(7)] + [client.run(mail, {"seconds": 0}) for _ in range(9)]
    started += [client.run(orders) for _ in range(4)]
    failed = client.run(orders, {"broken": True})
    waits = client.run(orders, {"ask_above": 10})
    waiting = [client.run(expense, {"customer": name, "amount": amount}) for name, amount in (("Ada", 120), ("Bo", 80))]
    rejected = client.run(expense)
    client.waiting_at(rejected, "ask")
    client.post(f"/api/v1/executions/{rejected}/approvals/ask", {"approved": False})
    running = client.run(mail)
    cancelled = client.run(mail)
    client.until_it_waits(cancelled)
    client.delete(f"/api/v1/executions/{cancelled}")
    for id in (*started, failed, rejected, cancelled):
        client.ended(id)
    client.waiting_at(waits, "ask")
    client.new_secret("WAREHOUSE_KEY", "a-key-of-some-length")
    client.put("/api/v1/store/entry?key=last-order", {"value": {"id": 1040, "customer": "Ada"}, "ttl": "7d"})
    client.new_secret("SMTP_PASSWORD", "another-long-password")
    return {
        "flow": orders,
        "short": report,
        "completed": started[-1],
        "report": started[0],
        "failed": failed,
        "asked": waits,
        "waiting": waiting[0],
        "running": running,
        "cancelled": cancelled,
        "webhook": asked["id"],
        "schedule": monday["id"],
        "callback": callback,
    }
