"""Reading of a document: a flow, or all its faults, each with its place."""

import math
import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowrunner.domain.duration import LONGEST_SECONDS
from flowrunner.domain.errors import InvalidFlow
from flowrunner.domain.expression import OUTPUT_NAMES, compile_text, render
from flowrunner.domain.expression.reading import MOST_UNKNOWN
from flowrunner.domain.flow import graph_at
from flowrunner.domain.prepared import prepared
from flowrunner.domain.retry import PASSING_ERRORS
from flowrunner.domain.values import JSON
from flowrunner.language import read_flow
from flowrunner.language.raw_nodes import repeated_nodes
from support.bad_documents import BAD
from support.flows import flow_of, specs


def faults_of(text: str) -> list[tuple[str, int | None, int | None]]:
    with pytest.raises(InvalidFlow) as error:
        read_flow(text, specs())
    return [(fault.code, fault.line, fault.column) for fault in error.value.faults]


@pytest.mark.parametrize(("text", "faults"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
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


def test_all_faults_are_reported_at_once_in_the_order_of_the_document() -> None:
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


def test_a_node_that_leads_to_itself_may_be_the_start() -> None:
    flow = flow_of(
        "nodes:\n  b: {type: return}\n"
        "  a: {type: switch, params: {cases: [{when: 'true', action: again}]}, next: {again: a, default: b}}\n"
    )

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
        f"nodes:\n  a: {{type: webhook, params: {{url: 'http://x'}}, next: {{{action}: b}}}}\n  b: {{type: return}}\n"
    )

    assert flow.nodes["a"].next == {action: "b"}


def retry_of(node: str, defaults: str = "{retry: {max: 2, delay: 5s}}") -> Any:
    return flow_of(f"defaults: {defaults}\nnodes: {{a: {node}}}").nodes["a"].retry


def test_a_first_delay_of_more_than_a_minute_is_not_cut_short() -> None:
    node = "{type: http.request, params: {url: 'http://x'}, retry: {delay: 10m%s}}"

    assert retry_of(node % "").delay_after(1, draw=0.0) == 600.0
    assert retry_of(node % "").delay_after(2, draw=0.0) == 600.0
    assert retry_of(node % ", max_delay: 2m").delay_after(1, draw=0.0) == 120.0


def test_default_retries_apply_to_nodes_that_may_run_twice() -> None:
    for node in (
        "{type: http.request, params: {url: 'http://x'}}",
        "{type: http.request, params: {url: 'http://x', method: DELETE}}",
        "{type: http.request, params: {url: 'http://x', method: POST}, idempotent: true}",
        "{type: return}",
    ):
        assert retry_of(node).max_retries == 2


def test_default_retries_do_not_apply_to_nodes_that_may_not_run_twice() -> None:
    for node in (
        "{type: http.request, params: {url: 'http://x', method: POST}}",
        "{type: http.request, params: {url: 'http://x', method: '${input.method}'}}",
        "{type: webhook, params: {url: 'http://x'}}",
        "{type: http.request, params: {url: 'http://x'}, idempotent: false}",
    ):
        assert retry_of(node) is None


def test_a_node_s_own_retry_is_merged_over_the_default() -> None:
    policy = retry_of("{type: http.request, params: {url: 'http://x'}, retry: {max: 7, errors: [timeout]}}")

    assert (policy.max_retries, policy.first_delay, policy.errors) == (7, 5.0, ("timeout",))


def test_a_post_is_retried_only_if_the_node_says_so() -> None:
    policy = retry_of("{type: http.request, params: {url: 'http://x', method: POST}, retry: {max: 1}}")

    assert (policy.max_retries, policy.first_delay, policy.errors) == (1, 1.0, PASSING_ERRORS)


def test_timeouts_go_from_the_node_to_the_defaults_to_the_type() -> None:
    def seconds(node: str, defaults: str) -> float | None:
        return flow_of(f"defaults: {defaults}\nnodes: {{a: {node}}}").nodes["a"].timeout_seconds

    assert seconds("{type: http.request, params: {url: 'http://x'}, timeout: 5s}", "{timeout: 9s}") == 5.0
    assert seconds("{type: http.request, params: {url: 'http://x'}}", "{timeout: 9s}") == 9.0
    assert seconds("{type: http.request, params: {url: 'http://x'}}", "{}") == 30.0


def test_the_names_in_a_node_are_known() -> None:
    flow = flow_of(
        "nodes:\n"
        "  a: {type: log, params: {message: '${secrets.KEY} ${input.x}'}, output: '${result}', next: b}\n"
        "  b: {type: return, params: {value: ['${nodes.a.result}', '$${secrets.NO}']}}\n"
    )

    a, b = (flow.nodes[name].params.mentions for name in "ab")
    assert (a.roots, a.secrets) == (frozenset({"secrets", "input"}), frozenset({"KEY"}))
    assert (b.roots, b.nodes, b.any_node) == (frozenset({"nodes"}), frozenset({"a"}), False)
    assert flow.nodes["a"].output == prepared(compile_text("${result}", OUTPUT_NAMES))


# Arbitrary input

names = st.sampled_from(["a", "b", "c", "é", "x y", "", "0", "start", "a.b"])
scalars = (
    st.none() | st.booleans() | st.integers(-5, 2**64) | st.floats()
    | st.sampled_from(
        ["a", "b", "${input}", "${nodes.a.result}", "${", "$${", "http.request", "log", "return", "5s", "x"]
    )
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
    """Return the value as YAML, which JSON is almost a subset of."""
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
@example({"nodes": {}, "defaults": {"timeout": 1e306}})
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
    """The reader returns random values unchanged."""
    chain: dict[str, dict[str, Any]] = {
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


def test_each_unknown_name_is_reported_at_its_own_place() -> None:
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


def test_of_many_unknown_names_in_one_script_the_first_are_reported() -> None:
    names = ";".join(f"q{number}" for number in range(500))

    found = faults_of(f"nodes: {{a: {{type: transform, params: {{script: '{names}; return 1'}}}}}}")

    assert len(found) == MOST_UNKNOWN


def test_nodes_alone_are_no_value() -> None:
    ((code, _, _),) = faults_of('nodes: {a: {type: transform, params: {value: "${nodes}"}}}')

    assert code == "expression.node"


@pytest.mark.parametrize(("timeout", "seconds"), [("2m", 121.0), ("1s", 2.0), ('"${input.patience}"', LONGEST_SECONDS)])
def test_the_timeout_of_a_request_is_not_cut_short_by_its_type(timeout: str, seconds: float) -> None:
    node = f"{{type: http.request, params: {{url: 'http://a', timeout: {timeout}}}}}"

    assert flow_of(f"nodes: {{a: {node}}}").nodes["a"].timeout_seconds == seconds


@pytest.mark.parametrize(
    "written",
    ["secrets.api-key", "secrets.my-api-key", "secrets.a-b-c-d", "nodes.get-all-users.result", "input.the-first-name"],
)
def test_a_name_with_dashes_written_as_the_hint_says_has_no_fault(written: str) -> None:
    document = """\
nodes:
  get-all-users: {type: log, params: {message: a}, next: b}
  b: {type: return, params: {value: '${%s}'}}
"""
    with pytest.raises(InvalidFlow) as invalid:
        flow_of(document % written)
    # One for each part of the name.
    (hint,) = {fault.hint for fault in invalid.value.faults}
    hinted = re.fullmatch(r".*write (?:\$\{)?(.+?)\}?(?:, if that is one name)?", hint or "")

    assert hinted is not None, hint
    _, _, rest = written.partition(written.split(".")[1])
    assert flow_of(document % (hinted[1] + rest)).nodes


def test_nodes_in_a_row_are_on_no_loop_and_those_on_one_and_between_two_are() -> None:
    row: dict[str, JSON] = {"a": {"next": "b"}, "b": {"next": "c"}, "c": {"next": "d"}, "d": {}}

    assert repeated_nodes(row) == set()
    assert repeated_nodes({**row, "c": {"next": {"default": "d", "error": "b"}}}) == {"b", "c"}
    assert repeated_nodes({**row, "b": {"next": "b"}}) == {"b"}
    assert repeated_nodes({"a": {"next": {"default": ["a"], "error": {"x": 1}}}}) == set()


def test_a_scope_that_the_flow_does_not_have_has_no_nodes() -> None:
    flow = flow_of("""
nodes:
  each: {type: foreach, params: {items: [1]}, nodes: {inner: {type: set, params: {x: 1}}}, next: both}
  both: {type: parallel, branches: {left: {nodes: {l: {type: set, params: {x: 1}}}}, right: {nodes: {r: {type: set,
  params: {x: 1}}}}}}
""")

    def names(scope: str) -> list[str] | None:
        found = graph_at({"": flow}, scope)
        return None if found is None else list(found.nodes)

    assert [names(scope) for scope in ("", "each.1[4]", "both.2[left]", "both.1[right]")] == [
        ["each", "both"], ["inner"], ["l"], ["r"]]  # fmt: skip
    assert [names(scope) for scope in ("gone.1[0]", "each.1[0]/gone.1[0]", "gone.1[0]/each.1[0]")] == [None] * 3


def test_a_node_that_faulty_parameters_may_lead_to_is_no_second_start() -> None:
    def codes(params: str) -> list[str]:
        faults = faults_of(f"nodes: {{a: {params}, b: {{type: return}}}}")
        return [code for code, _, _ in faults]

    # Its actions are not known, so one of them may be that of the edge that is missing.
    assert codes("{type: switch, params: {cases: 7}}") == ["param"]
    assert codes("{type: log, params: {message: x}}") == ["start.ambiguous"]
