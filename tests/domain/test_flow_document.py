import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrunner.domain.errors import InvalidFlow
from flowrunner.domain.expression import OUTPUT_NAMES, compile_text, render
from flowrunner.domain.flow import prepared
from flowrunner.domain.flow_document import read_flow
from flowrunner.domain.retry import PASSING_ERRORS
from flowrunner.domain.yaml_source import MAX_BYTES, MAX_DEPTH, MAX_NODES
from support.flows import flow_of, specs

# Each: what it is about, the document, and its faults as (code, line, column).
# ruff: noqa: E501  # a case a line
FAULTY: list[tuple[str, str, list[tuple[str, int, int]]]] = [
    # The text
    ("nothing", "", [("type", 1, 1)]),
    ("a list", "- a", [("type", 1, 1)]),
    ("a text", "hello", [("type", 1, 1)]),
    ("a number", "5", [("type", 1, 1)]),
    ("too many bytes", "#" * (MAX_BYTES + 1), [("too_large", 1, 1)]),
    ("too many bytes in few characters", "# " + "é" * (MAX_BYTES // 2), [("too_large", 1, 1)]),
    ("too deep", "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), [("too_deep", 1, MAX_DEPTH + 1)]),
    ("too deep by maps", "{a: " * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1), [("too_deep", 1, 4 * MAX_DEPTH + 1)]),
    ("too many values", "[" + "1," * MAX_NODES + "]", [("too_large", 1, 2 * MAX_NODES)]),
    ("a tab", "nodes:\n\ta: 1\n", [("yaml.syntax", 2, 1)]),
    ("NUL", "nodes: \x00", [("yaml.character", 1, 8)]),
    ("NUL in an escape", 'nodes: {a: {type: log, params: {message: "\\0"}}}', [("yaml.character", 1, 42)]),
    ("half a surrogate pair", "nodes: \ud800", [("yaml.character", 1, 1)]),
    ("a control character", "nodes:\n  a\x07: 1", [("yaml.character", 2, 4)]),
    ("two documents", "nodes: {}\n---\nnodes: {}\n", [("yaml.documents", 2, 1)]),
    ("a bracket left open", "nodes: [\n", [("yaml.syntax", 2, 1)]),
    ("a quote left open", 'nodes: "a\n', [("yaml.syntax", 2, 1)]),
    ("bad indentation", "nodes:\n  a: {type: log}\n b: 1\n", [("yaml.syntax", 3, 2)]),
    ("an expression not quoted", "nodes: {a: {type: transform, params: {value: ${input}}}}", [("yaml.syntax", 1, 47)]),
    ("a tag", "nodes: !x {a: {type: return}}", [("yaml.tag", 1, 8)]),
    ("a Python tag", "nodes: !!python/object:os.system {a: {type: return}}", [("yaml.tag", 1, 8)]),
    ("a standard tag", "nodes: {a: {type: !!str return}}", [("yaml.tag", 1, 19)]),
    ("a merge", "x-a: &a {type: return}\nnodes:\n  a:\n    <<: *a\n    type: return\n", [("yaml.merge", 4, 5)]),
    ("an alias to nothing", "nodes: *a", [("yaml.alias", 1, 8)]),
    ("an alias to itself", "x-a: &a [*a]", [("yaml.alias", 1, 10)]),
    ("a key that is a list", "? [a]\n: 1\n", [("yaml.key", 1, 3)]),
    ("a key that is an alias", "x-a: &a b\n*a : 1\n", [("yaml.key", 2, 1)]),
    ("a duplicate key", "nodes: {a: {type: return}}\nnodes: {b: {type: return}}\n", [("yaml.duplicate_key", 2, 1)]),
    ("a duplicate node", "nodes:\n  a: {type: return}\n  a: {type: return}\n", [("yaml.duplicate_key", 3, 3)]),
    ("a number beyond 64 bits", "nodes: {a: {type: return, params: {value: 9223372036854775808}}}", [("yaml.number", 1, 43)]),
    ("a number beyond floats", "nodes: {a: {type: return, params: {value: 1e999}}}", [("yaml.number", 1, 43)]),
    ("no number", "nodes: {a: {type: return, params: {value: .nan}}}", [("yaml.number", 1, 43)]),
    ("infinity", "nodes: {a: {type: return, params: {value: -.inf}}}", [("yaml.number", 1, 43)]),
    # The flow
    ("no nodes", "metadata: {name: x}", [("required", 1, 1)]),
    ("empty nodes", "nodes: {}", [("required", 1, 8)]),
    ("nodes in a list", "nodes: [{type: return}]", [("type", 1, 8)]),
    ("an unknown key", "node: 1\nnodes: {a: {type: return}}", [("unknown_key", 1, 1)]),
    ("an unknown key of metadata", "metadata: {nmae: x}\nnodes: {a: {type: return}}", [("unknown_key", 1, 12)]),
    ("metadata that are text", "metadata: x\nnodes: {a: {type: return}}", [("type", 1, 11)]),
    ("a version that is a number", "metadata: {version: 1.0}\nnodes: {a: {type: return}}", [("type", 1, 21)]),
    ("a long name", f"metadata: {{name: {'x' * 201}}}\nnodes: {{a: {{type: return}}}}", [("too_long", 1, 18)]),
    ("a tag that is a number", "metadata: {tags: [a, 1]}\nnodes: {a: {type: return}}", [("type", 1, 18)]),
    ("too many tags", f"metadata: {{tags: [{', '.join(f't{i}' for i in range(51))}]}}\nnodes: {{a: {{type: return}}}}", [("too_long", 1, 18)]),
    ("a start that does not exist", "start: b\nnodes: {a: {type: return}}", [("edge.target", 1, 8)]),
    ("two starts", "nodes:\n  a: {type: return}\n  b: {type: return}\n", [("start.ambiguous", 3, 3)]),
    ("a node out of reach", "start: a\nnodes:\n  a: {type: return}\n  b: {type: return}\n", [("node.unreachable", 4, 3)]),
    ("a loop out of reach", "nodes:\n  a: {type: return}\n  b: {type: log, params: {message: x}, next: c}\n  c: {type: log, params: {message: x}, next: b}\n", [("node.unreachable", 3, 3), ("node.unreachable", 4, 3)]),
    ("an expression in vars", "vars:\n  a: x\n  b: {c: '${input}'}\nnodes: {a: {type: return}}", [("expression.place", 3, 10)]),
    # A node
    ("a node that is text", "nodes: {a: return}", [("type", 1, 12)]),
    ("a node without a type", "nodes:\n  a: {params: {}}\n", [("required", 2, 3)]),
    ("an unknown type", "nodes: {a: {type: htp.request}}", [("node.type", 1, 19)]),
    ("a type that is a number", "nodes: {a: {type: 5}}", [("node.type", 1, 19)]),
    ("an unknown key of a node", "nodes: {a: {type: return, nxt: b}}", [("unknown_key", 1, 27)]),
    ("an unprintable name", 'nodes: {"a\\tb": {type: return}}', [("node.name", 1, 9)]),
    ("parameters that are text", "nodes: {a: {type: return, params: x}}", [("type", 1, 35)]),
    ("an unknown parameter", "nodes: {a: {type: return, params: {vale: 1}}}", [("unknown_key", 1, 36)]),
    ("a missing parameter", "nodes: {a: {type: log, params: {}}}", [("required", 1, 32)]),
    ("a parameter of the wrong type", "nodes: {a: {type: http.request, params: {url: 5}}}", [("param", 1, 47)]),
    ("an unknown method", "nodes: {a: {type: http.request, params: {url: x, method: FETCH}}}", [("param", 1, 58)]),
    ("a bad duration", "nodes: {a: {type: delay, params: {duration: 10}}}", [("param", 1, 45)]),
    ("a bad duration in text", "nodes: {a: {type: delay, params: {duration: ten}}}", [("param", 1, 45)]),
    ("a bad timeout", "nodes: {a: {type: return, timeout: soon}}", [("duration", 1, 36)]),
    ("a timeout that is a number", "nodes: {a: {type: return, timeout: 5}}", [("type", 1, 36)]),
    ("a timeout of nothing", "nodes: {a: {type: return, timeout: 0s}}", [("range", 1, 36)]),
    ("a timeout of a century", "nodes: {a: {type: return, timeout: 36500d}}", [("duration", 1, 36)]),
    ("too many retries", "nodes: {a: {type: return, retry: {max: 1001}}}", [("range", 1, 40)]),
    ("retries that are true", "nodes: {a: {type: return, retry: {max: true}}}", [("type", 1, 40)]),
    ("jitter above one", "nodes: {a: {type: return, retry: {jitter: 1.5}}}", [("range", 1, 43)]),
    ("no errors to retry", "nodes: {a: {type: return, retry: {errors: []}}}", [("type", 1, 43)]),
    ("an unknown key of retry", "nodes: {a: {type: return, retry: {maxx: 1}}}", [("unknown_key", 1, 35)]),
    ("idempotent in text", "nodes: {a: {type: return, idempotent: 'no'}}", [("type", 1, 39)]),
    # Edges
    ("an edge to nowhere", "nodes: {a: {type: log, params: {message: x}, next: b}}", [("edge.target", 1, 52)]),
    ("an edge of an action to nowhere", "nodes: {a: {type: log, params: {message: x}, next: {default: b}}}", [("edge.target", 1, 62)]),
    ("an edge to a number", "nodes: {a: {type: log, params: {message: x}, next: {default: 1}}}", [("edge.target", 1, 62)]),
    ("edges in a list", "nodes: {a: {type: log, params: {message: x}, next: [a]}}", [("type", 1, 52)]),
    ("an action that never happens", "nodes:\n  a: {type: log, params: {message: x}, next: {empty: b}}\n  b: {type: return}", [("edge.action", 2, 47)]),
    ("an edge out of a return", "nodes:\n  a: {type: return, next: b}\n  b: {type: return}", [("edge.action", 2, 27)]),
    ("an error that never happens", "nodes:\n  a: {type: log, params: {message: x}, next: {error.http.404: b}}\n  b: {type: return}", [("edge.action", 2, 47)]),
    # Expressions
    ("an expression left open", "nodes: {a: {type: return, params: {value: '${input'}}}", [("expression.syntax", 1, 43)]),
    ("an unknown name", "nodes: {a: {type: return, params: {value: '${process.env}'}}}", [("expression.unknown_name", 1, 43)]),
    ("an unknown node", "nodes: {a: {type: return, params: {value: ['x', '${nodes.b.result}']}}}", [("expression.unknown_name", 1, 49)]),
    ("an unknown variable", "vars: {a: 1}\nnodes: {a: {type: return, params: {value: 'x ${vars.b}'}}}", [("expression.unknown_name", 2, 43)]),
    ("an unknown member of flow", "nodes: {a: {type: return, params: {value: '${flow.inptu}'}}}", [("expression.unknown_name", 1, 43)]),
    ("all secrets at once", "nodes: {a: {type: return, params: {value: '${secrets}'}}}", [("expression.secret", 1, 43)]),
    ("the result where it is not yet", "nodes: {a: {type: return, params: {value: '${result}'}}}", [("expression.unknown_name", 1, 43)]),
    ("an expression in an output", "nodes: {a: {type: log, params: {message: x}, output: '${resul.a}'}}", [("expression.unknown_name", 1, 54)]),
]  # fmt: skip


def faults_of(text: str) -> list[tuple[str, int | None, int | None]]:
    with pytest.raises(InvalidFlow) as error:
        read_flow(text, specs())
    return [(fault.code, fault.line, fault.column) for fault in error.value.faults]


@pytest.mark.parametrize(("text", "faults"), [case[1:] for case in FAULTY], ids=[case[0] for case in FAULTY])
def test_a_fault_is_found_and_placed(text: str, faults: list[tuple[str, int, int]]) -> None:
    assert faults_of(text) == faults


def test_aliases_cannot_blow_a_document_up() -> None:
    lines = ["x-0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"x-{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)]

    ((code, line, _),) = faults_of("\n".join(lines))

    assert code == "too_large"
    assert line is not None
    assert line <= 5


def test_aliases_cannot_go_deeper_than_the_text_may() -> None:
    lines = ["x-0: &a0 [" + "[" * 20 + "]" * 20 + "]", "x-1: &a1 [" + "[" * 15 + "*a0" + "]" * 15 + "]"]
    lines += ["x-2: [" + "[" * 15 + "*a1" + "]" * 15 + "]"]

    ((code, line, _),) = faults_of("\n".join(lines))

    assert (code, line) == ("too_deep", 3)


def test_all_faults_are_told_at_once_in_the_order_of_the_document() -> None:
    faults = faults_of(
        "metadata: {version: 1}\n"
        "nodes:\n"
        "  a:\n"
        "    type: htp.request\n"
        "    timeout: soon\n"
        "    next: c\n"
        "  b: {type: log, params: {message: '${x}', colour: red}}\n"
        "extra: 1\n"
    )

    assert faults == [
        ("type", 1, 21),
        ("node.type", 4, 11),
        ("duration", 5, 14),
        ("edge.target", 6, 11),
        ("start.ambiguous", 7, 3),
        ("expression.unknown_name", 7, 36),
        ("unknown_key", 7, 44),
        ("unknown_key", 8, 1),
    ]


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("nodes: {a: {type: htp.request}}", "did you mean 'http.request'?"),
        ("nodes: {a: {type: return, parms: {}}}", "did you mean 'params'?"),
        ("nodes: {a: {type: log, params: {mesage: x, message: y}}}", "did you mean 'message'?"),
        ("nodes: {first: {type: log, params: {message: x}, next: frist}}", "did you mean 'first'?"),
        ("nodes: {fetch: {type: return, params: {value: '${nodes.fecth.result}'}}}", "did you mean 'fetch'?"),
        ("metadata: {version: 2}\nnodes: {a: {type: return}}", 'quote it: version: "2"'),
        ("metadata: {version: 1.10}\nnodes: {a: {type: return}}", 'quote it: version: "…"'),
        ("nodes: {a: {type: transform, params: {value: ${input}}}}", 'quote the expression: {a: "${x}"}'),
        ("nodes:\n\ta: 1", "indent with spaces: YAML does not allow tabs there"),
    ],
)
def test_a_fault_says_what_to_do_about_it(text: str, hint: str) -> None:
    with pytest.raises(InvalidFlow) as error:
        flow_of(text)
    assert hint in [fault.hint for fault in error.value.faults]


# Flows without faults


def test_the_smallest_flow_is_read() -> None:
    flow = flow_of("nodes: {a: {type: return}}")

    assert (flow.start, list(flow.nodes), flow.name, flow.version, flow.tags) == ("a", ["a"], "", "", ())


def test_metadata_are_read() -> None:
    flow = flow_of(
        "metadata: {name: N, description: D, version: '1.0', tags: [x, y, x]}\nx-note: 1\nnodes: {a: {type: return}}"
    )

    assert (flow.name, flow.description, flow.version, flow.tags) == ("N", "D", "1.0", ("x", "y"))


def test_the_node_that_nothing_leads_to_is_the_start() -> None:
    flow = flow_of("nodes:\n  b: {type: return}\n  a: {type: log, params: {message: x}, next: b}\n")

    assert flow.start == "a"


def test_a_loop_through_all_nodes_starts_with_the_first() -> None:
    flow = flow_of(
        "nodes:\n  b: {type: log, params: {message: x}, next: a}\n  a: {type: log, params: {message: x}, next: b}\n"
    )

    assert flow.start == "b"


def test_a_short_edge_is_the_default_one() -> None:
    flow = flow_of("nodes:\n  a: {type: log, params: {message: x}, next: b}\n  b: {type: return}\n")

    assert flow.nodes["a"].next == {"default": "b"}


@pytest.mark.parametrize("action", ["error", "error.http", "error.http.404", "error.http.4xx", "error.timeout",
                                    "error.connection.refused", "error.expression", "error.interrupted"])  # fmt: skip
def test_an_error_that_can_happen_has_an_edge(action: str) -> None:
    flow = flow_of(
        f"nodes:\n  a: {{type: http.request, params: {{url: x}}, next: {{{action}: b}}}}\n  b: {{type: return}}\n"
    )

    assert flow.nodes["a"].next == {action: "b"}


def retry_of(node: str, defaults: str = "{retry: {max: 2, delay: 5s}}") -> Any:
    return flow_of(f"defaults: {defaults}\nnodes: {{a: {node}}}").nodes["a"].retry


def test_default_retries_reach_what_may_run_twice() -> None:
    for node in (
        "{type: http.request, params: {url: x}}",
        "{type: http.request, params: {url: x, method: DELETE}}",
        "{type: http.request, params: {url: x, method: POST}, idempotent: true}",
        "{type: return}",
    ):
        assert retry_of(node).max_retries == 2


def test_default_retries_do_not_reach_what_may_not_run_twice() -> None:
    for node in (
        "{type: http.request, params: {url: x, method: POST}}",
        "{type: http.request, params: {url: x, method: '${input.method}'}}",
        "{type: webhook, params: {url: x}}",
        "{type: http.request, params: {url: x}, idempotent: false}",
    ):
        assert retry_of(node) is None


def test_a_node_s_own_retry_is_merged_over_the_default() -> None:
    policy = retry_of("{type: http.request, params: {url: x}, retry: {max: 7, errors: [timeout]}}")

    assert (policy.max_retries, policy.first_delay, policy.errors) == (7, 5.0, ("timeout",))


def test_a_post_is_repeated_only_on_its_own_word() -> None:
    policy = retry_of("{type: http.request, params: {url: x, method: POST}, retry: {max: 1}}")

    assert (policy.max_retries, policy.first_delay, policy.errors) == (1, 1.0, PASSING_ERRORS)


def test_timeouts_go_from_the_node_to_the_defaults_to_the_type() -> None:
    def seconds(node: str, defaults: str) -> float:
        return flow_of(f"defaults: {defaults}\nnodes: {{a: {node}}}").nodes["a"].timeout_seconds

    assert seconds("{type: http.request, params: {url: x}, timeout: 5s}", "{timeout: 9s}") == 5.0
    assert seconds("{type: http.request, params: {url: x}}", "{timeout: 9s}") == 9.0
    assert seconds("{type: http.request, params: {url: x}}", "{}") == 30.0


def test_what_a_node_mentions_is_known() -> None:
    flow = flow_of(
        "nodes:\n"
        "  a: {type: log, params: {message: '${secrets.KEY} ${input.x}'}, output: '${result}', next: b}\n"
        "  b: {type: return, params: {value: ['${nodes.a.result}', '$${secrets.NO}']}}\n"
    )

    a, b = (flow.nodes[name].params.mentions for name in "ab")
    assert (a.roots, a.secrets) == ({"secrets", "input"}, {"KEY"})
    assert (b.roots, b.nodes, b.any_node) == ({"nodes"}, {"a"}, False)
    assert flow.nodes["a"].output == prepared(compile_text("${result}", OUTPUT_NAMES))


# Whatever comes

names = st.sampled_from(["a", "b", "c", "é", "x y", "", "0", "start", "a.b"])
scalars = (
    st.none() | st.booleans() | st.integers(-5, 2**64) | st.floats()
    | st.sampled_from(["a", "b", "${input}", "${nodes.a.result}", "${", "$${", "http.request", "log", "return", "5s", "x"])
    | st.text(max_size=5)
)  # fmt: skip
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6
)


def sometimes(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 4).flatmap(lambda n: anything if n == 0 else strategy)


nodes = st.fixed_dictionaries(
    {"type": sometimes(st.sampled_from(sorted(specs())))},
    optional={
        "params": sometimes(
            st.dictionaries(
                st.sampled_from(["url", "method", "value", "message", "duration", "body", "headers", "error", "level"]),
                anything,
                max_size=4,
            )
        ),
        "next": sometimes(names | st.dictionaries(st.sampled_from(["default", "error", "error.http.4xx"]), names)),
        "timeout": sometimes(st.sampled_from(["5s", "PT1M", "0s"])),
        "retry": sometimes(
            st.dictionaries(st.sampled_from(["max", "delay", "jitter", "errors", "backoff"]), anything, max_size=3)
        ),
        "output": anything,
        "idempotent": sometimes(st.booleans()),
    },
)
documents = st.fixed_dictionaries(
    {"nodes": sometimes(st.dictionaries(names, sometimes(nodes), max_size=4))},
    optional={
        "start": sometimes(names),
        "vars": sometimes(st.dictionaries(names, anything, max_size=2)),
        "metadata": sometimes(
            st.dictionaries(st.sampled_from(["name", "version", "tags", "description"]), anything, max_size=3)
        ),
        "defaults": sometimes(st.dictionaries(st.sampled_from(["timeout", "retry"]), anything, max_size=2)),
        "other": anything,
    },
)


def written(value: Any) -> str:
    """The value as YAML, which JSON almost is."""
    match value:
        case dict():
            return f"{{{', '.join(f'{written(str(k))}: {written(v)}' for k, v in value.items())}}}"
        case list():
            return f"[{', '.join(map(written, value))}]"
        case str():
            return '"' + "".join(c if c.isascii() and c.isalnum() else f"\\U{ord(c):08x}" for c in value) + '"'
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case float() if not math.isfinite(value):
            return ".nan"
    return repr(value)


@given(documents)
def test_no_document_raises_anything_but_its_faults(document: Any) -> None:
    text = written(document)
    try:
        flow = read_flow(text, specs())
    except InvalidFlow as error:
        faults = error.faults
    else:
        assert flow.start in flow.nodes
        assert all(target in flow.nodes for node in flow.nodes.values() for target in node.next.values())
        return
    assert faults
    assert all(f.code and f.message and f.line == 1 and 1 <= (f.column or 0) <= len(text) + 1 for f in faults)


@given(st.text(" \n-:{}[]&*!'\"#ab${}", max_size=80))
def test_no_text_raises_anything_but_its_faults(text: str) -> None:
    try:
        read_flow(text, specs())
    except InvalidFlow as error:
        faults = error.faults
    else:
        return
    lines = text.count("\n") + 1
    assert faults
    assert all(1 <= (f.line or 0) <= lines + 1 and 1 <= (f.column or 0) <= len(text) + 1 for f in faults)


@given(st.permutations(["a", "b", "c", "d"]), st.data())
def test_a_written_flow_reads_back(order: list[str], data: st.DataObject) -> None:
    """Values drawn at random come out of the reader as they went in."""
    chain = {
        name: {
            "type": "http.request",
            "params": {"url": f"http://{name}", "body": data.draw(st.lists(st.integers(-9, 9), max_size=3))},
            "timeout": f"{data.draw(st.integers(1, 999))}ms",
            "retry": {"max": data.draw(st.integers(0, 9)), "jitter": data.draw(st.floats(0, 1))},
            "next": {"default": following, "error.http.5xx": following} if following else {},
        }
        for name, following in zip(order, [*order[1:], None], strict=True)
    }
    flow = flow_of(written({"vars": {"x": [1, "${".replace("$", "")]}, "nodes": chain}))

    assert flow.start == order[0]
    assert list(flow.nodes) == order
    for name, node in flow.nodes.items():
        assert render(node.params.template, {}) == chain[name]["params"]
        assert node.next == chain[name]["next"]
        assert node.timeout_seconds == pytest.approx(int(chain[name]["timeout"][:-2]) / 1000)
        assert node.retry is not None
        assert (node.retry.max_retries, node.retry.jitter) == (
            chain[name]["retry"]["max"],
            chain[name]["retry"]["jitter"],
        )


def test_each_unknown_name_is_placed_where_it_stands_and_not_at_one_like_it() -> None:
    document = """\
vars: {apis: [a]}
nodes:
  a:
    type: transform
    params:
      value:
        one: "${vars.apis}"
        two: "${vars.api}"
        three: "${vars.api}"
"""

    assert faults_of(document) == [
        ("expression.unknown_name", 8, 14),
        ("expression.unknown_name", 9, 16),
    ]


def test_nodes_alone_are_no_value() -> None:
    ((code, _, _),) = faults_of('nodes: {a: {type: transform, params: {value: "${nodes}"}}}')

    assert code == "expression.node"


@pytest.mark.parametrize(("timeout", "seconds"), [("2m", 121.0), ("1s", 2.0)])
def test_the_timeout_of_a_request_is_not_cut_short_by_its_type(timeout: str, seconds: float) -> None:
    node = f"{{type: http.request, params: {{url: 'http://a', timeout: {timeout}}}}}"

    assert flow_of(f"nodes: {{a: {node}}}").nodes["a"].timeout_seconds == seconds
