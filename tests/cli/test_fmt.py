"""Command `flowrunner fmt`."""

from pathlib import Path

from cli.command import flowrunner

WRITTEN = """\


metadata:   { name:   x , tags: [a,b,c ] }   # its name
# about nodes


nodes:
    a :
        type:   transform   
        params:
            script: |
                  if (input) {
                      return 1
                  }

                  return 2


        next:   b
        # end of a
    # end of nodes
    b:
        type: switch
        params:
            cases:
            -   when: "a"
                action:   b
            # between
            -   {when: c,
                   action: d}
"""  # noqa: W291 # the blanks are to go
FORMATTED = """\
metadata: {name: x, tags: [a, b, c]} # its name
# about nodes

nodes:
  a:
    type: transform
    params:
      script: |
        if (input) {
            return 1
        }

        return 2

    next: b
    # end of a
  # end of nodes
  b:
    type: switch
    params:
      cases:
        - when: "a"
          action: b
        # between
        - {when: c,
          action: d}
"""


def test_files_are_formatted_and_named(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(WRITTEN)
    (tmp_path / "a.yaml").chmod(0o640)
    (tmp_path / "b.yaml").write_text(FORMATTED)
    (tmp_path / "values.yaml").write_text("a:   1\n")
    done = flowrunner("fmt", ".", at=tmp_path)

    assert (done.returncode, done.stdout) == (0, "a.yaml\n")
    assert done.stderr == "2 flows: 1 formatted (1 file without 'nodes' left out)\n"
    assert (tmp_path / "a.yaml").read_text() == (tmp_path / "b.yaml").read_text() == FORMATTED
    assert (tmp_path / "a.yaml").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "values.yaml").read_text() == "a:   1\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.yaml", "b.yaml", "values.yaml"]


def test_a_check_writes_nothing_and_fails_if_something_would_change(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(WRITTEN)
    (tmp_path / "b.yaml").write_text(FORMATTED)
    found = flowrunner("fmt", "--check", "a.yaml", "b.yaml", at=tmp_path)
    fine = flowrunner("fmt", "--check", "b.yaml", at=tmp_path)

    assert (found.returncode, found.stdout) == (1, "a.yaml\n")
    assert found.stderr == "2 flows: 1 would be formatted\n"
    assert (fine.returncode, fine.stdout) == (0, "")
    assert (tmp_path / "a.yaml").read_text() == WRITTEN


def test_a_diff_shows_what_would_change(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("nodes:\n  a: {type:  return}\n")
    done = flowrunner("fmt", "--diff", "a.yaml", at=tmp_path)

    assert done.returncode == 1
    assert done.stdout == (
        "--- a.yaml\n+++ a.yaml (formatted)\n@@ -1,2 +1,2 @@\n nodes:\n-  a: {type:  return}\n+  a: {type: return}\n"
    )
    assert (tmp_path / "a.yaml").read_text() == "nodes:\n  a: {type:  return}\n"


def test_the_standard_input_is_printed_as_formatted(tmp_path: Path) -> None:
    done = flowrunner("fmt", "-", at=tmp_path, stdin=WRITTEN)
    checked = flowrunner("fmt", "--check", "-", at=tmp_path, stdin=WRITTEN)

    assert (done.returncode, done.stdout, done.stderr) == (0, FORMATTED, "")
    assert (checked.returncode, checked.stdout) == (1, "<stdin>\n")


def test_a_document_that_cannot_be_read_is_left_and_the_others_are_formatted(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("nodes: {a: {type: log, type:  log}}\n")
    (tmp_path / "b.yaml").write_text(WRITTEN)
    (tmp_path / "c.yaml").write_bytes(b"nodes: \xff\n")
    done = flowrunner("fmt", "a.yaml", "b.yaml", "c.yaml", at=tmp_path)

    assert (done.returncode, done.stdout) == (6, "b.yaml\n")
    assert done.stderr == (
        "a.yaml:1:24: error yaml.duplicate_key: nodes.a.type: 'type' is already given in line 1\n"
        "    hint: keep one of the two\n"
        "c.yaml:1:1: error encoding: the document is not UTF-8 text\n"
        "    hint: save it as UTF-8\n"
        "3 flows: 1 formatted, 2 with faults left as they are\n"
    )
    assert (tmp_path / "a.yaml").read_text() == "nodes: {a: {type: log, type:  log}}\n"


def test_the_target_of_a_link_is_formatted(tmp_path: Path) -> None:
    (tmp_path / "target.yaml").write_text(WRITTEN)
    (tmp_path / "a.yaml").symlink_to("target.yaml")
    flowrunner("fmt", "a.yaml", at=tmp_path)

    assert (tmp_path / "a.yaml").is_symlink()
    assert (tmp_path / "target.yaml").read_text() == FORMATTED
