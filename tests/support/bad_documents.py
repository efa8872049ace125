"""Documents that are no flows: each with every fault that is to be told, and where."""

from typing import Final

from flowrunner.language.yaml_source import MAX_BYTES, MAX_DEPTH, MAX_NODES

# Each: what it is about, the document, and its faults as (code, line, column).
# ruff: noqa: E501  # a case a line
_BY_HAND: Final[list[tuple[str, str, list[tuple[str, int, int]]]]] = [
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
    ("a quote left open", 'nodes: "a\n', [("yaml.syntax", 1, 8)]),
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
    # More of the text
    ("a tab before a key", "metadata:\n  name: x\n\tversion: y\n", [("yaml.syntax", 3, 1)]),
    ("a tab for an indent in a list", "x-a:\n\t- b\n", [("yaml.syntax", 2, 1)]),
    ("a form feed", "nodes:\n  a\x0c: 1", [("yaml.character", 2, 4)]),
    ("DEL", "nodes:\n  a\x7f: 1", [("yaml.character", 2, 4)]),
    ("an escape character", "nodes: \x1b[31m", [("yaml.character", 1, 8)]),
    ("no character at all", "nodes: \uffff", [("yaml.character", 1, 8)]),
    ("NUL in a key", '{"a\\0": 1, nodes: {a: {type: return}}}', [("yaml.character", 1, 2)]),
    ("an unknown escape", 'nodes: "\\q"', [("yaml.syntax", 1, 9)]),
    ("half an escape", 'nodes: "\\u12"', [("yaml.syntax", 1, 11)]),
    ("a surrogate in an escape", 'nodes: "\\ud800"', [("yaml.character", 1, 9)]),
    ("two documents on markers", "---\nnodes: {}\n---\nnodes: {}\n", [("yaml.documents", 3, 1)]),
    ("a document after an end", "nodes: {}\n...\nnodes: {}\n", [("yaml.syntax", 3, 1)]),
    ("a third document", "---\na: 1\n---\nb: 2\n---\nc: 3\n", [("yaml.documents", 3, 1)]),
    ("a directive", "%YAML 9.9\n---\nnodes: {}\n", [("yaml.directive", 1, 1)]),
    ("a tag directive", "%TAG ! tag:x,2000:\n---\nnodes: !y {a: {type: return}}\n", [("yaml.directive", 1, 1)]),
    ("a binary", "nodes: {a: {type: return, params: {value: !!binary aGk=}}}", [("yaml.tag", 1, 43)]),
    ("a set", "nodes: !!set {a, b}", [("yaml.tag", 1, 8)]),
    ("a time stamp by tag", "metadata: {name: !!timestamp 2001-01-01}\nnodes: {a: {type: return}}", [("yaml.tag", 1, 18)]),
    ("a non-specific tag", "nodes: ! {a: {type: return}}", [("yaml.tag", 1, 8)]),
    ("a tag of a key", "!!str nodes: {a: {type: return}}", [("yaml.tag", 1, 1)]),
    ("a Python object", "x: !!python/object/apply:os.system ['id']\nnodes: {a: {type: return}}", [("yaml.tag", 1, 4)]),
    ("a merge of several", "x-a: &a {b: 1}\nnodes:\n  c:\n    <<: [*a, *a]\n    type: return\n", [("yaml.merge", 4, 5)]),
    ("a key that is a map", "? {a: 1}\n: 2\n", [("yaml.key", 1, 3)]),
    ("a key that is an expression", "nodes: {a: {type: return, params: {value: {${x}: 1}}}}", [("yaml.syntax", 1, 45)]),
    ("no key", "nodes:\n  : 1\n", [("yaml.syntax", 2, 3)]),
    ("a duplicate key far away", "vars: {a: 1}\nnodes:\n  a: {type: return}\nvars: {b: 2}\n", [("yaml.duplicate_key", 4, 1)]),
    ("a duplicate key by quotes", "nodes: {a: {type: return}}\n'nodes': {b: {type: return}}\n", [("yaml.duplicate_key", 2, 1)]),
    ("a duplicate parameter", "nodes:\n  a:\n    type: return\n    params:\n      value: 1\n      value: 2\n", [("yaml.duplicate_key", 6, 7)]),
    ("a key three times", "x-a: 1\nx-a: 2\nx-a: 3\n", [("yaml.duplicate_key", 2, 1), ("yaml.duplicate_key", 3, 1)]),
    ("a bomb of maps", "x-0: &a {b: 1, c: 1, d: 1}\n" + "".join(f"x-{n}: &{chr(97 + n)} {{b: *{chr(96 + n)}, c: *{chr(96 + n)}, d: *{chr(96 + n)}}}\n" for n in range(1, 20)), [("too_large", 8, 13)]),
    ("a bomb of lists", "x-0: &a0 [1]\n" + "".join(f"x-{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}, *a{n - 1}]\n" for n in range(1, 30)), [("too_large", 7, 21)]),
    ("an anchor twice, to itself", "x-a: &a [1]\nx-b: &a [*a, *b]\n", [("yaml.alias", 2, 14)]),
    ("51 levels of lists", "x-a: " + "[" * 50 + "]" * 50 + "\n", [("too_deep", 1, 55)]),
    ("51 levels of indents", "".join(f"{' ' * n}a:\n" for n in range(51)) + " " * 51 + "b: 1\n", [("too_deep", 51, 51)]),
    ("a million brackets", "[" * 1_000_000, [("yaml.syntax", 1, 1001)]),
    ("a million dashes", "- " * 500_000, [("too_deep", 1, 2 * MAX_DEPTH + 1)]),
    ("a million question marks", "? " * 500_000, [("yaml.key", 1, 3)]),
    ("many keys", "".join(f"x-{n}: 1\n" for n in range(MAX_NODES)), [("too_large", MAX_NODES // 2, 9)]),
    ("one byte too many in a comment", "nodes: {a: {type: return}}\n#".ljust(MAX_BYTES + 1, "x"), [("too_large", 1, 1)]),
    ("one byte too many in a text", "x-a: ".ljust(MAX_BYTES + 1, "x"), [("too_large", 1, 1)]),
    ("a bracket too many", "nodes: {a: {type: return}}}\n", [("yaml.syntax", 1, 27)]),
    ("a comma missing", 'nodes: {a: {type: return params: {}}}', [("yaml.syntax", 1, 32)]),
    ("a colon within a plain text", "metadata: {name: x}\nnodes:\n  a: b: c\n", [("yaml.syntax", 3, 7)]),
    ("an at sign", "nodes: @a\n", [("yaml.syntax", 1, 8)]),
    ("a back tick", "nodes: `a`\n", [("yaml.syntax", 1, 8)]),
    ("a percent sign", "nodes: {a: %b}\n", [("yaml.syntax", 1, 12)]),
    ("a block within a flow", "nodes: {a: |\n  b\n}\n", [("yaml.syntax", 1, 12)]),
    ("a list where a map goes on", "nodes:\n  a: {type: return}\n- b\n", [("yaml.syntax", 3, 1)]),
    ("a comment that ends a bracket", "nodes: {a: {type: return} # }\n", [("yaml.syntax", 2, 1)]),
    ("JSON with a comma too many at the start", '{,"nodes": {}}', [("yaml.syntax", 1, 2)]),
    ("a hexadecimal beyond 64 bits", "vars: {a: 0xFFFFFFFFFFFFFFFFF}\nnodes: {a: {type: return}}", [("yaml.number", 1, 11)]),
    ("digits without end", "vars: {a: " + "9" * 5000 + "}\nnodes: {a: {type: return}}", [("yaml.number", 1, 11)]),
    ("a negative beyond 64 bits", "vars: {a: -9223372036854775809}\nnodes: {a: {type: return}}", [("yaml.number", 1, 11)]),
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
    ("an unknown method", "nodes: {a: {type: http.request, params: {url: 'http://x', method: FETCH}}}", [("param", 1, 67)]),
    ("a bad duration", "nodes: {a: {type: delay, params: {duration: 10}}}", [("param", 1, 45)]),
    ("a bad duration in text", "nodes: {a: {type: delay, params: {duration: ten}}}", [("param", 1, 45)]),
    ("a bad timeout", "nodes: {a: {type: return, timeout: soon}}", [("duration", 1, 36)]),
    ("a timeout that is a number", "nodes: {a: {type: return, timeout: -5}}", [("type", 1, 36)]),
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
    ("the result where it is not yet", "nodes: {a: {type: return, if: '${result}'}}", [("expression.unknown_name", 1, 31)]),
    ("an expression in an output", "nodes: {a: {type: log, params: {message: x}, output: '${resul.a}'}}", [("expression.unknown_name", 1, 54)]),
]  # fmt: skip

# What is of a wrong type, wherever one is asked for. `no`, `on` and `off` are texts, and `012` is twelve.
_WRONG: Final[dict[str, tuple[str, ...]]] = {
    "metadata: {}": ("1", "[a]", "on", "true"),
    "metadata:\n  name: {}": ("1", "012", "[a]", "{a: 1}", "true"),
    "metadata:\n  description: {}": ("1", "[a]"),
    "metadata:\n  version: {}": ("1.0", "2", "0x1", "false", "[a]"),
    "metadata:\n  tags: {}": ("a", "1", "[1]", "[[a]]", "[a, null]", "{a: 1}", "['']"),
    "vars: {}": ("1", "[a]", "no"),
    "inputs: {}": ("1", "[a]", "yes"),
    "inputs:\n  a: {}": ("1", "[a]", "string"),
    "defaults: {}": ("1", "[a]", "no"),
    "defaults:\n  timeout: {}": ("-5", "0", "[5s]", "true", "{a: 1}"),
    "defaults:\n  retry: {}": ("5", "[a]", "no"),
    "limits: {}": ("1", "[a]"),
    "limits:\n  timeout: {}": ("-1.5", "[a]", "false"),
    "limits:\n  max_steps: {}": ("a", "1.5", "true", "[1]", "'5'"),
    "limits:\n  concurrency: {}": ("1", "[a]", "on"),
    "on_failure: {}": ("1", "[a]", "true", "nowhere"),
    "on_finish: {}": ("1", "{a: b}", "off"),
    "start: {}": ("1", "[a]", "no"),
    "tests: {}": ("1", "[a]"),
    "tests:\n  t: {}": ("1", "[a]", "on"),
}
_WRONG_IN_A_NODE: Final[dict[str, tuple[str, ...]]] = {
    "type: {}": ("1", "[return]", "true", "{a: 1}", "no", "null"),
    "description: {}": ("1", "[a]", "true"),
    "if: {}": ("1", "[a]", "{a: 1}", "null", "1.5"),
    "params: {}": ("1", "[a]", "on", "true"),
    "timeout: {}": ("-1", "0", "'30'", "[5s]", "{a: 1}", "true", "on", "0s"),
    "retry: {}": ("1", "[a]", "true", "no"),
    "retry:\n      max: {}": ("a", "1.5", "true", "-1", "1001", "[1]"),
    "retry:\n      delay: {}": ("1", "[1s]", "soon"),
    "retry:\n      backoff: {}": ("a", "0", "true"),
    "retry:\n      jitter: {}": ("a", "2", "-0.1"),
    "retry:\n      errors: {}": ("timeout", "[1]", "[]", "{a: 1}"),
    "next: {}": ("1", "[a]", "true", "nowhere"),
    "next:\n      default: {}": ("1", "[a]", "null", "nowhere"),
    "idempotent: {}": ("no", "1", "'true'", "[true]"),
    "hooks: {}": ("1", "[a]", "on"),
    "hooks:\n      prep: {}": ("1", "[a]", "true"),
    "batch: {}": ("1", "[a]", "serial"),
    "batch:\n      strategy: {}": ("1", "fast", "[serial]"),
    "batch:\n      max_parallel: {}": ("0", "a", "1001", "true"),
    "output: '${{}'": ("",),
}


def _of_wrong_types() -> list[tuple[str, str, int]]:
    """What it is about, the document, and the line that a fault is told of."""
    cases = []
    for where, values in _WRONG.items():
        for value in values:
            written = where.replace("{}", value)
            cases.append(
                (written.replace("\n", " "), f"{written}\nnodes: {{a: {{type: set}}}}\n", written.count("\n") + 1)
            )
    for where, values in _WRONG_IN_A_NODE.items():
        for value in values:
            written = where.replace("{}", value)
            kind = "" if where.startswith("type") else "\n    type: set"
            text = f"nodes:\n  a:{kind}\n    {written}\n"
            cases.append((f"a node with {' '.join(written.split())}", text, text.count("\n")))
    return cases


BAD: Final = _BY_HAND
OF_WRONG_TYPES: Final = _of_wrong_types()
