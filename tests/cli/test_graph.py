"""Command `flowrunner graph`."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from cli.command import flowrunner


def test_the_graph_of_a_flow_is_printed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("nodes: {a: {type: log, params: {message: hi}, next: b}, b: {type: return}}")
    done = flowrunner("graph", "a.yaml", at=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == 'flowchart TD\n    n1["a<br/>log"]\n    n2["b<br/>return"]\n    n1 --> n2\n'


def test_the_graph_of_a_flow_is_printed_as_a_picture_even_with_faults(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("nodes: {a: {type: log, next: '<b>&'}, '<b>&': {type: </text><script>}}")
    done = flowrunner("graph", "-o", "svg", "a.yaml", at=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    parts = list(ElementTree.fromstring(done.stdout).iter())
    assert [part.text for part in parts if part.tag.endswith("}text")] == ["a", "log", "<b>&", "</text><script>"]
    assert not [part for part in parts if "script" in part.tag]


def test_a_graph_that_takes_the_layout_too_long_has_no_picture(tmp_path: Path) -> None:
    edges = ", ".join(f"a{number}: n{number}" for number in range(68))
    nodes = ", ".join(f"n{number}: {{next: {{{edges}}}}}" for number in range(68))
    (tmp_path / "a.yaml").write_text(f"nodes: {{{nodes}}}")
    done = flowrunner("graph", "-o", "svg", "a.yaml", at=tmp_path)

    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr == "a.yaml: the graph of 68 nodes and 4624 edges is too large for a picture\n"


def test_a_file_without_nodes_has_no_graph(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("nothing: here")
    done = flowrunner("graph", "a.yaml", at=tmp_path)

    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr == "a.yaml: there is no mapping 'nodes' to draw\n"


@pytest.mark.parametrize(
    ("words", "of_each"),
    [
        (["graph"], 'n1["{name}<br/>log"]'),
        (["graph", "-o", "svg"], ">{name}</text>"),
        (["fmt", "--check"], "{name}.yaml"),
        (["validate"], "{name}.yaml"),
        (["test", "-o", "json"], "{name}.yaml"),
    ],
    ids=["graph", "graph -o svg", "fmt", "validate", "test"],
)
def test_a_command_looks_at_every_flow_of_a_directory(words: list[str], of_each: str, tmp_path: Path) -> None:
    names = {"first", "second", "third"}
    for name in names:
        node = f"{name}: {{type: log,   params: {{message: hi}}, nxt: x}}"
        (tmp_path / f"{name}.yaml").write_text(f"nodes:   {{{node}}}\ntests: {{t: {{}}}}\n")

    done = flowrunner(*words, ".", at=tmp_path)

    assert {name for name in names if of_each.format(name=name) in done.stdout + done.stderr} == names
