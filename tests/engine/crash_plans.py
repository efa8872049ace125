"""Plans that must end the same way whenever the process dies."""

import json
from collections.abc import Mapping
from typing import Any, Final

from flowrunner.plugin import HttpAnswer
from support.dependencies import Request, answer, never

from .crashes import (
    ORDINARY,
    CrashPlan,
    approve,
    cancel,
    rerun,
    run,
    signal,
    time_passes,
    until_all_wait,
    until_ended,
    until_requested,
    until_waiting,
)

CHILD: Final = """
nodes:
  ask: {type: http.request, params: {url: "http://peer/ask"}, output: "${result.body}", next: rest}
  rest: {type: delay, params: {duration: 1h}, next: done}
  done: {type: return, params: {value: "${input}"}}
"""
WAITS_FOR_EVER: Final = """
nodes:
  ask: {type: http.request, params: {url: "http://peer/ask"}, next: forever}
  forever: {type: wait, params: {key: never}}
"""
ONE_AT_A_TIME: Final = """
limits: {concurrency: {max: 1, key: "${flow.input.key}"%s}}
nodes:
  begin: {type: http.request, params: {url: "http://peer/begin/${flow.input.name}"}, next: hold}
  hold: {type: wait, params: {key: go}, next: end}
  end: {type: webhook, params: {url: "http://peer/end"}, output: "${flow.input.key}"}
"""


async def says_where(request: Request) -> HttpAnswer:
    """Answer as a model does: by what was said before, so that a question that is asked again has the same answer."""
    turn = [message["role"] for message in json.loads(request.body or b"")["messages"]].count("assistant")
    turns: list[list[tuple[str, Any]]] = [
        [("look", {"id": "a"}), ("find", {}), ("look", {"id": 1}), ("delete", {})],
        [("look", {"id": "b"})],
        [],
    ]
    written = [
        {"id": f"c{turn}.{place}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for place, (name, arguments) in enumerate(turns[turn])
    ]
    return answer(body=json.dumps({"choices": [{"message": {"content": "There.", "tool_calls": written}}]}))


CRASH_PLANS: Final[Mapping[str, CrashPlan]] = {
    "an ordinary day": ORDINARY,
    "a loop over four elements, two at once, of which one fails": CrashPlan(
        flows={
            "loop": """
                nodes:
                  each:
                    type: foreach
                    params: {items: "${flow.input.items}", as: item, concurrency: 2, on_error: collect}
                    nodes:
                      push: {type: webhook, params: {url: "http://peer/${item}", body: "${item}"}, next: note}
                      note: {type: transform, params: {value: "${item}"}}
                    next: tell
                  tell: {type: webhook, params: {url: "http://peer/tell"}, next: done}
                  done: {type: return, params: {value: "${nodes.each.result}"}}
                """
        },
        answers={"http://peer/c": [answer(404)]},
        parts=[run("loop", "loop", {"items": ["a", "b", "c", "d"]}), until_ended("loop")],
    ),
    "loops and branches in a loop": CrashPlan(
        flows={
            "nested": """
                vars: {n: 0}
                nodes:
                  each:
                    type: foreach
                    params: {items: [1, 2], concurrency: 2}
                    nodes:
                      both:
                        type: parallel
                        branches:
                          left: {nodes: {push: {type: webhook, params: {url: "http://peer/left"}, output: "${item}"}}}
                          right:
                            nodes:
                              rest: {type: delay, params: {duration: 1h}, next: push}
                              push: {type: webhook, params: {url: "http://peer/right"}, output: "${item}"}
                    next: again
                  again:
                    type: while
                    params: {when: "vars.n < 2", delay: 1h}
                    nodes:
                      push: {type: webhook, params: {url: "http://peer/again"}, next: count}
                      count: {type: set, params: {n: "${vars.n + 1}"}}
                    next: done
                  done: {type: return, params: {value: ["${nodes.each.result}", "${vars.n}"]}}
                """
        },
        parts=[
            run("nested", "nested"),
            until_waiting("nested"),
            time_passes(hours=2),
            until_requested("http://peer/again"),
            until_waiting("nested"),
            time_passes(hours=4),
            until_ended("nested"),
        ],
    ),
    "a flow that counts in the store of its workspace": CrashPlan(
        flows={
            "counts": """
                nodes:
                  first: {type: store, params: {operation: increment, key: n}, next: each}
                  each:
                    type: foreach
                    params: {items: [10, 20, 30]}
                    nodes:
                      add: {type: store, params: {operation: increment, key: n, value: "${item}"}, next: tell}
                      tell: {type: webhook, params: {url: "http://peer/${item}"}, output: "${nodes.add.result}"}
                    next: take
                  take: {type: store, params: {operation: delete, key: "n"}, next: put}
                  put: {type: store, params: {operation: set, key: n, value: "${input}"}, next: read}
                  read: {type: store, params: {operation: get, key: n}, next: done}
                  done: {type: return, params: {value: ["${nodes.each.result}", "${input}", "${nodes.put.result}"]}}
                """
        },
        parts=[run("counts", "counts"), until_ended("counts"), run("again", "counts"), until_ended("again")],
    ),
    "an agent that calls a request and a flow, and then answers": CrashPlan(
        flows={
            "asks": """
                nodes:
                  answer:
                    type: agent
                    params:
                      base_url: http://model
                      model: m
                      prompt: Where is it?
                      tools:
                        - name: look
                          description: Looks
                          http.request: {url: "http://peer/${call.arguments.id}", method: POST, body: "${call.id}"}
                        - {flow: child, name: find, description: Finds}
                    output: "${result.content}"
                    next: tell
                  tell: {type: webhook, params: {url: "http://peer/tell", body: "${input}"}}
                """,
            "child": CHILD,
        },
        answers={"http://model/chat/completions": [says_where]},
        parts=[run("asks", "asks"), until_all_wait(2), time_passes(hours=2), until_ended("asks")],
    ),
    "branches of which all, one, and two have to complete": CrashPlan(
        flows={
            "races": """
                nodes:
                  all:
                    type: parallel
                    branches:
                      a: {nodes: {push: {type: webhook, params: {url: "http://peer/a"}, output: a}}}
                      b: {nodes: {push: {type: webhook, params: {url: "http://peer/b"}, output: b}}}
                    next: any
                  any:
                    type: parallel
                    params: {join: any}
                    branches:
                      near: {nodes: {push: {type: webhook, params: {url: "http://peer/near"}, output: near}}}
                      far: {nodes: {push: {type: webhook, params: {url: "http://peer/never"}}}}
                    next: two
                  two:
                    type: parallel
                    params: {join: 2}
                    branches:
                      x: {nodes: {push: {type: webhook, params: {url: "http://peer/x"}, output: x}}}
                      y: {nodes: {push: {type: webhook, params: {url: "http://peer/y"}, output: y}}}
                      z: {nodes: {rest: {type: delay, params: {duration: 1h}}}}
                    next: done
                  done:
                    type: return
                    params: {value: ["${nodes.all.result}", "${nodes.any.result}", "${nodes.two.result}"]}
                """
        },
        answers={"http://peer/never": [never]},
        parts=[run("races", "races"), until_ended("races")],
    ),
    "a branch that fails ends the others": CrashPlan(
        flows={
            "fails": """
                nodes:
                  both:
                    type: parallel
                    branches:
                      bad:
                        nodes:
                          rest: {type: delay, params: {duration: 1h}, next: push}
                          push: {type: webhook, params: {url: "http://peer/bad"}}
                      hangs: {nodes: {push: {type: flow, params: {flow: endless}}}}
                    next: {error: made_up}
                  made_up: {type: webhook, params: {url: "http://peer/made-up", body: "${error.type}"}}
                """,
            "endless": WAITS_FOR_EVER,
        },
        answers={"http://peer/bad": [answer(500)]},
        parts=[run("fails", "fails"), until_all_wait(2), time_passes(hours=2), until_ended("fails")],
    ),
    "a flow that waits for another, and starts a third without waiting": CrashPlan(
        flows={
            "parent": """
                nodes:
                  call: {type: flow, params: {flow: child}, next: send}
                  send: {type: flow, params: {flow: child, wait: false, input: {}}, next: tell}
                  tell: {type: webhook, params: {url: "http://peer/tell"}, next: done}
                  done: {type: return, params: {value: "${nodes.call.result}"}}
                """,
            "child": CHILD,
        },
        answers={"http://peer/ask": [answer(body='"answer"')]},
        parts=[
            run("parent", "parent"),
            until_all_wait(2),
            time_passes(hours=2),
            until_ended("parent"),
            until_all_wait(1),
            time_passes(hours=4),
        ],
    ),
    "a flow that calls another for each element": CrashPlan(
        flows={
            "parent": """
                nodes:
                  each:
                    type: foreach
                    params: {items: [1, 2, 3], concurrency: 2}
                    nodes: {call: {type: flow, params: {flow: child, input: {n: "${item}"}}}}
                """,
            "child": "nodes: {ask: {type: webhook, params: {url: 'http://peer/ask'}, output: '${flow.input.n}'}}",
        },
        parts=[run("parent", "parent"), until_ended("parent")],
    ),
    "a flow that goes on without the one it waited for": CrashPlan(
        flows={
            "parent": """
                nodes:
                  call: {type: flow, params: {flow: endless}, timeout: 1h, next: {error.timeout: rest}}
                  rest: {type: wait, params: {key: go}, next: tell}
                  tell: {type: webhook, params: {url: "http://peer/tell"}, output: went on}
                """,
            "endless": WAITS_FOR_EVER,
        },
        parts=[
            run("parent", "parent"),
            until_all_wait(2),
            time_passes(hours=2),
            until_all_wait(1),
            signal("parent", "go"),
            until_ended("parent"),
        ],
    ),
    "a flow that calls another again when it failed": CrashPlan(
        flows={
            "parent": """
                nodes: {call: {type: flow, params: {flow: bad}, retry: {max: 1, delay: 0s, errors: ["*"]}}}
                """,
            "bad": "nodes: {ask: {type: webhook, params: {url: 'http://peer/bad'}}}",
        },
        answers={"http://peer/bad": [answer(500)]},
        parts=[run("parent", "parent"), until_ended("parent")],
    ),
    "cancelling a flow that waits for another": CrashPlan(
        flows={
            "parent": """
                on_finish: tidy
                nodes:
                  call: {type: flow, params: {flow: middle}}
                  tidy: {type: webhook, params: {url: "http://peer/tidy"}}
                """,
            "middle": "nodes: {call: {type: flow, params: {flow: endless}}}",
            "endless": WAITS_FOR_EVER,
        },
        parts=[run("parent", "parent"), until_all_wait(3), cancel("parent"), until_ended("parent")],
    ),
    "a cancelled flow whose child takes its time to tidy up": CrashPlan(
        flows={
            "parent": "nodes: {call: {type: flow, params: {flow: child}}}",
            "child": """
                on_finish: begin
                nodes:
                  hold: {type: wait, params: {key: never}}
                  begin: {type: webhook, params: {url: "http://peer/begin"}, next: rest}
                  rest: {type: delay, params: {duration: 1h}, next: tidy}
                  tidy: {type: webhook, params: {url: "http://peer/tidy"}}
                """,
        },
        parts=[
            run("parent", "parent"),
            until_all_wait(2),
            cancel("parent"),
            until_ended("parent"),
            until_requested("http://peer/begin"),
            until_all_wait(1),
            time_passes(hours=2),
        ],
    ),
    "signals and an approval": CrashPlan(
        flows={
            "asks": """
                nodes:
                  both:
                    type: parallel
                    branches:
                      paid: {nodes: {wait: {type: wait, params: {key: paid}, next: push},
                                     push: {type: webhook, params: {url: "http://peer/paid", body: "${input}"}}}}
                      agreed: {nodes: {ask: {type: approval, timeout: 9d, next: {approved: push}},
                                       push: {type: webhook, params: {url: "http://peer/agreed"}}}}
                      late: {nodes: {wait: {type: wait, params: {key: late, timeout: 1h}, next: {timeout: push}},
                                     push: {type: webhook, params: {url: "http://peer/late"}}}}
                    next: done
                  done: {type: return, params: {value: "${nodes.both.result.paid.status_code}"}}
                """
        },
        parts=[
            run("asks", "asks"),
            until_waiting("asks"),
            signal("asks", "paid", {"amount": 7}),
            approve("asks", "ask"),
            time_passes(hours=2),
            until_ended("asks"),
        ],
    ),
    "handlers of a failure and of the end": CrashPlan(
        flows={
            "fails": """
                on_failure: alarm
                on_finish: rest
                nodes:
                  work: {type: webhook, params: {url: "http://peer/bad"}}
                  alarm: {type: webhook, params: {url: "http://peer/alarm", body: "${error.type}"}}
                  rest: {type: delay, params: {duration: 1h}, next: tidy}
                  tidy: {type: webhook, params: {url: "http://peer/tidy", body: "${execution.status}"}}
                """
        },
        answers={"http://peer/bad": [answer(500)]},
        parts=[run("fails", "fails"), until_waiting("fails"), time_passes(hours=2), until_ended("fails")],
    ),
    "handlers of the end of a cancelled flow": CrashPlan(
        flows={
            "long": """
                on_finish: rest
                nodes:
                  work: {type: webhook, params: {url: "http://peer/never"}}
                  rest: {type: delay, params: {duration: 1h}, next: tidy}
                  tidy: {type: webhook, params: {url: "http://peer/tidy", body: "${execution.status}"}}
                """
        },
        answers={"http://peer/never": [never]},
        parts=[
            run("long", "long"),
            until_requested("http://peer/never"),
            cancel("long"),
            until_waiting("long"),
            time_passes(hours=2),
            until_ended("long"),
        ],
    ),
    "a flow that takes too long": CrashPlan(
        flows={
            "late": """
                limits: {timeout: 1h}
                on_finish: tidy
                nodes:
                  hold: {type: wait, params: {key: never}}
                  tidy: {type: webhook, params: {url: "http://peer/tidy"}}
                """
        },
        parts=[run("late", "late"), until_waiting("late"), time_passes(hours=2), until_ended("late")],
    ),
    "a flow that goes round for ever": CrashPlan(
        flows={
            "round": """
                limits: {max_steps: 6}
                start: push
                nodes: {push: {type: webhook, params: {url: "http://peer/round"}, next: push}}
                """
        },
        parts=[run("round", "round"), until_ended("round")],
        is_exact=False,
    ),
    "executions that wait for a concurrency slot": CrashPlan(
        flows={"one": ONE_AT_A_TIME % ""},
        parts=[
            run("first", "one", {"name": "first", "key": "a"}),
            run("other", "one", {"name": "other", "key": "b"}),
            run("second", "one", {"name": "second", "key": "a"}),
            run("third", "one", {"name": "third", "key": "a"}),
            until_all_wait(4),
            signal("first", "go"),
            until_ended("first"),
            until_requested("http://peer/begin/second"),
            until_all_wait(3),
            # A queued execution can be cancelled, too.
            cancel("third"),
            signal("other", "go"),
            signal("second", "go"),
            until_ended("second", "other"),
        ],
    ),
    "an execution too many": CrashPlan(
        flows={"one": ONE_AT_A_TIME % ", on_limit: reject"},
        parts=[
            run("first", "one", {"name": "first", "key": "a"}),
            until_all_wait(1),
            run("refused", "one", {"name": "refused", "key": "a"}),
            signal("first", "go"),
            until_ended("first"),
            run("second", "one", {"name": "second", "key": "a"}),
            until_all_wait(1),
            signal("second", "go"),
            until_ended("second"),
        ],
    ),
    "executions that take each other's place": CrashPlan(
        flows={"one": ONE_AT_A_TIME % ", on_limit: replace"},
        parts=[
            run("first", "one", {"name": "first", "key": "a"}),
            until_all_wait(1),
            run("second", "one", {"name": "second", "key": "a"}),
            until_ended("first"),
            until_requested("http://peer/begin/second"),
            until_all_wait(1),
            run("third", "one", {"name": "third", "key": "a"}),
            until_ended("second"),
            until_requested("http://peer/begin/third"),
            until_all_wait(1),
            signal("third", "go"),
            until_ended("third"),
        ],
    ),
    "an execution that is run again from where it failed": CrashPlan(
        flows={
            "flow": """
                nodes:
                  before: {type: webhook, params: {url: "http://peer/before"}, output: kept, next: each}
                  each:
                    type: foreach
                    params: {items: "${flow.input.urls}"}
                    nodes: {push: {type: webhook, params: {url: "http://peer/${item}"}, output: "${item}"}}
                    next: done
                  done: {type: return, params: {value: ["${nodes.before.result}", "${nodes.each.result}"]}}
                """
        },
        answers={"http://peer/bad": [answer(500)]},
        parts=[
            run("flow", "flow", {"urls": ["good", "bad"]}),
            until_ended("flow"),
            rerun("again", "flow", from_step="each", input={"urls": ["good", "better"]}),
            until_ended("again"),
        ],
    ),
}
