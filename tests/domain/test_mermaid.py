"""A flow's graph as a Mermaid flowchart."""

from flowrunner.language.mermaid import mermaid_of
from flowrunner.language.sketch import sketch_of
from flowrunner.local.reader import node_type_specs


def drawn(text: str) -> str:
    return mermaid_of(sketch_of(text, node_type_specs()))


def test_edges_have_the_names_of_their_actions_and_errors_are_dotted() -> None:
    text = "nodes: {a: {type: switch, next: {big: b, default: b, error.http: c}}, b: {type: log}, c: {type: fail}}"

    assert drawn(text) == (
        "flowchart TD\n"
        '    n1["a<br/>switch"]\n'
        '    n2["b<br/>log"]\n'
        '    n3["c<br/>fail"]\n'
        '    n1 -->|"big"| n2\n'
        "    n1 --> n2\n"
        '    n1 -.->|"error.http"| n3\n'
    )


def test_loops_and_branches_are_frames() -> None:
    text = """
nodes:
  each:
    type: foreach
    nodes:
      both:
        type: parallel
        branches: {left: {nodes: {x: {type: log}}}, right: {nodes: {x: {type: log}}}}
"""

    assert drawn(text) == (
        "flowchart TD\n"
        '    n1["each<br/>foreach"]\n'
        '    subgraph n1s1["each"]\n'
        '        n2["both<br/>parallel"]\n'
        '        subgraph n2s1["both: left"]\n'
        '            n3["x<br/>log"]\n'
        "        end\n"
        "        n2 -.- n3\n"
        '        subgraph n2s2["both: right"]\n'
        '            n4["x<br/>log"]\n'
        "        end\n"
        "        n2 -.- n4\n"
        "    end\n"
        "    n1 -.- n2\n"
    )


def test_names_are_text_and_no_syntax() -> None:
    text = """nodes: {'a"] --> <b> & #35; `c`': {type: log}}"""

    assert drawn(text) == 'flowchart TD\n    n1["a#34;#93; --#62; #60;b#62; #38; #35;35#59; #96;c#96;<br/>log"]\n'


def test_a_loop_is_joined_to_the_node_that_it_starts_with() -> None:
    text = "nodes: {each: {type: foreach, nodes: {x: {type: log}, y: {type: log, next: x}}}}"

    assert "    n1 -.- n3\n" in drawn(text)


def test_a_loop_leads_to_the_node_that_it_begins_with_wherever_that_is_written() -> None:
    text = "nodes: {each: {type: foreach, start: b, nodes: {a: {type: log}, b: {type: log, next: a}}}}"

    assert drawn(text).endswith("    n1 -.- n3\n    n3 --> n2\n")
