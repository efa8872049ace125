"""Command `flowrunner graph`."""

from pathlib import Path

from cli.command import flowrunner


def test_the_graph_of_a_flow_is_printed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("nodes: {a: {type: log, params: {message: hi}, next: b}, b: {type: return}}")
    done = flowrunner("graph", "a.yaml", at=tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == 'flowchart TD\n    n1["a<br/>log"]\n    n2["b<br/>return"]\n    n1 --> n2\n'


def test_a_file_without_nodes_has_no_graph(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("nothing: here")
    done = flowrunner("graph", "a.yaml", at=tmp_path)

    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr == "a.yaml: there is no mapping 'nodes' to draw\n"
