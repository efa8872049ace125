"""Command `flowrunner new`."""

from pathlib import Path

import pytest

from cli.command import flowrunner
from flowrunner.cli import templates
from flowrunner.cli.templates import NAMES, template
from flowrunner.language.yaml_format import format_yaml


def test_every_template_is_listed_with_a_line(tmp_path: Path) -> None:
    listed = flowrunner("new", at=tmp_path)
    named = flowrunner("-o", "name", "new", at=tmp_path)

    assert (listed.returncode, listed.stderr) == (0, "")
    head, *lines = listed.stdout.splitlines()
    assert head.split() == ["NAME", "DESCRIPTION"]
    assert [line.split()[0] for line in lines] == named.stdout.split() == list(NAMES)
    assert all(len(line) <= 80 and len(line.split()) > 4 for line in lines)


def test_every_file_is_a_template() -> None:
    directory = Path(templates.__file__).with_name("flow_templates")

    assert sorted(path.name for path in directory.iterdir()) == sorted(f"{name}.yaml" for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_template_is_valid_formatted_and_passes_its_tests(name: str, tmp_path: Path) -> None:
    written = flowrunner("new", name, "-f", "a.yaml", at=tmp_path)
    checked = flowrunner("validate", "--strict", "a.yaml", at=tmp_path)
    tested = flowrunner("test", "a.yaml", at=tmp_path)

    assert (written.returncode, written.stdout) == (0, "")
    assert written.stderr == "a.yaml: 'flowrunner test a.yaml' runs its tests\n"
    assert (checked.returncode, checked.stderr) == (0, "1 flow: 0 errors, 0 warnings\n")
    assert tested.returncode == 0, tested.stdout
    assert "  ok    " in tested.stdout
    assert format_yaml(template(name)) == template(name) == (tmp_path / "a.yaml").read_text()


def test_a_template_goes_to_the_standard_output(tmp_path: Path) -> None:
    done = flowrunner("new", "http", at=tmp_path)

    assert (done.returncode, done.stdout, done.stderr) == (0, template("http"), "")
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_replaced_only_if_told(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("mine\n")
    (tmp_path / "link.yaml").symlink_to("nowhere.yaml")
    refused = flowrunner("new", "http", "-f", "a.yaml", at=tmp_path)
    link = flowrunner("new", "http", "-f", "link.yaml", at=tmp_path)

    assert refused.returncode == link.returncode == 2
    assert "a.yaml exists already: choose another file, or replace it with --force" in refused.stderr
    assert (tmp_path / "a.yaml").read_text() == "mine\n"
    assert not (tmp_path / "nowhere.yaml").exists()
    assert flowrunner("new", "http", "-f", "a.yaml", "--force", at=tmp_path).returncode == 0
    assert (tmp_path / "a.yaml").read_text() == template("http")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["htp"], "'htp' is not one of 'hello', 'http',"),
        (["-f", "a.yaml"], "Name a template: hello, http, webhook,"),
        (["http", "-f", "none/a.yaml"], "none/a.yaml cannot be written: No such file or directory"),
    ],
)
def test_what_is_given_wrongly_is_named(given: list[str], said: str, tmp_path: Path) -> None:
    done = flowrunner("new", *given, at=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_names_of_templates_are_completed(tmp_path: Path) -> None:
    done = flowrunner(
        at=tmp_path,
        environment={"_FLOWRUNNER_COMPLETE": "bash_complete", "COMP_WORDS": "flowrunner new h", "COMP_CWORD": "2"},
    )

    assert done.stdout.split() == ["plain,hello", "plain,http"]
