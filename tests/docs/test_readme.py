"""The statements and commands of the README, and links between the documents."""

import re
import shutil
import subprocess
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Final

import pytest

from docs.pages import CONTRIBUTING, DOCS, README, ROOT, SETTINGS, all_pages, anchors, blocks, rows, section
from flowrunner.cli import connection
from flowrunner.settings import SECRET_PREFIX, Settings, load_settings
from mutants.planted import BUGS
from support.client import PASSWORD, Client
from support.preloaded import forked_command
from support.server import Server, clean_environment

BASH: Final = shutil.which("bash")


def test_every_setting_is_described_with_its_default() -> None:
    said = {row[0].strip("`"): row[1].strip("`") for row in rows(SETTINGS.read_text())}

    assert list(said) == [setting.name for setting in fields(Settings)]
    for setting in fields(Settings):
        if setting.default is MISSING:
            assert said[setting.name] == "$XDG_DATA_HOME/flowrunner"
        elif setting.default in (None, ()):
            assert said[setting.name] == ""
        else:
            assert setting.metadata["parse"](said[setting.name]) == setting.default


def test_the_sample_of_a_settings_file_is_valid(tmp_path: Path) -> None:
    [sample] = blocks(SETTINGS, "toml")
    (tmp_path / "flowrunner.toml").write_text(sample)

    found = load_settings({}, {"FLOWRUNNER_CONFIG": str(tmp_path / "flowrunner.toml"), "HOME": str(tmp_path)})

    assert found.public_url == "https://flows.example.com"


def test_the_variables_that_documents_name_exist() -> None:
    read_by_commands = re.findall(r'"FLOWRUNNER_([A-Z_]+)"', Path(connection.__file__).read_text())
    known = {setting.name.upper() for setting in fields(Settings)} | {"CONFIG", *read_by_commands}
    for page in all_pages():
        for name in re.findall(r"(?<!_)FLOWRUNNER_([A-Z][A-Z_]*)", page.read_text()):
            is_of_a_flow = f"FLOWRUNNER_{name}".startswith(SECRET_PREFIX)
            assert is_of_a_flow or name.removesuffix("_FILE") in known, f"{page.name} names FLOWRUNNER_{name}"


def test_the_flags_that_documents_name_exist() -> None:
    known = {setting.name.replace("_", "-") for setting in fields(Settings) if not setting.metadata["secret"]}
    for page in all_pages():
        for line in page.read_text().splitlines():
            if "flowrunner serve" in line:
                assert set(re.findall(r"--([a-z-]+)", line)) <= known, line


def test_the_targets_that_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in all_pages() for name in re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", page.read_text())}
    named = {name for pair in named for name in pair if name}

    assert {"demo", "test", "serve", "check", "bench"} <= targets
    assert named <= targets


_INSTALLERS: Final = re.compile(r"(?<![\w/-])(pip3?|pipx|uvx|uv) +([^#\n`|;&]*)")
# Options of the installers that have a value.
_VALUES: Final = {"--requirement", "-r", "--python", "--with", "--index-url", "--constraint", "-c", "--target"}


def packages_of(line: str) -> list[str]:
    """Return what the commands of a line install or run, other than files of requirements."""
    found = []
    for tool, rest in _INSTALLERS.findall(line):
        words = rest.replace("'", "").replace('"', "").split()
        runs = tool == "uvx" or words[:1] == ["run"] or words[:2] == ["tool", "run"]
        if named := [words[at + 1] for at, word in enumerate(words[:-1]) if word in ("--from", "--spec")]:
            found += named
            continue
        if not runs and not {"install", "add"} & set(words):
            continue
        values = {at + 1 for at, word in enumerate(words) if word in _VALUES}
        plain = [word for at, word in enumerate(words) if at not in values and not word.startswith("-")]
        plain = [word for word in plain if word not in ("install", "add", "run", "tool", "pip")]
        found += plain[:1] if runs else plain
    return found


# A requirement by the name of the command, whose extras are those of another project on an index.
_EXTRA: Final = re.compile(r"(?<![\w.-])flowrunner *(?:\[[a-z]|[=<>~!]=)")


def is_named_on_an_index(package: str) -> bool:
    return re.match(r"flowrunner\b", package) is not None and not package.endswith((".whl", ".tar.gz"))


def test_no_document_installs_a_package_of_this_name_from_an_index() -> None:
    sources = [
        path for directory in ("src", "deploy", "demo") for path in (ROOT / directory).rglob("*") if path.is_file()
    ]
    texts = [path for path in sources if path.suffix not in (".pyc", ".png")]
    # Until there is a release, a name on the index may belong to another project.
    for line in (
        "pip install flowrunner", "pip install 'flowrunner[temporal]'", "python -m pip install -U flowrunner-server",
        "pipx install flowrunner", "pipx run flowrunner", "uvx flowrunner dev",
        "uvx --from flowrunner-server flowrunner",
        "uv tool install flowrunner-server", "uv add flowrunner-client", "uv pip install flowrunner==0.1.0",
        "- run: pip install -r requirements.txt flowrunner",
    ):  # fmt: skip
        assert [package for package in packages_of(line) if is_named_on_an_index(package)], line
    for line in (
        "pip install --no-deps ./flowrunner",
        "uvx --from ./dist/flowrunner_server-0.1.0-py3-none-any.whl flowrunner dev",
        "pip install './client[async]'", "pip install --requirement flowrunner/requirements/runtime.txt",
        "pip install flowrunner_server-0.1.0-py3-none-any.whl",
    ):  # fmt: skip
        assert not [package for package in packages_of(line) if is_named_on_an_index(package)], line
    for text in ("unless `flowrunner[keyring]` is installed", "add flowrunner==0.1.0 to your requirements"):
        assert _EXTRA.search(text), text
    assert not _EXTRA.search("`./flowrunner_server-0.1.0-py3-none-any.whl[keyring]`")
    # Decisions are not changed.
    pages = [page for page in all_pages() if page.parent.name != "decisions"]
    assert [path.name for path in {*pages, *texts} if _EXTRA.search(path.read_text(errors="replace"))] == []
    named = {
        (path.name, package)
        for path in {*all_pages(), *texts}
        for line in path.read_text(errors="replace").splitlines()
        if len(line) < 1000
        for package in packages_of(line)
        if is_named_on_an_index(package)
    }
    assert named == set()


def test_the_measured_number_of_caught_bugs_is_that_of_the_planted_ones() -> None:
    measured = {
        row[0]: row[1] for row in rows(section(ROOT / "docs/reliability.md", "What was measured")) if len(row) > 1
    }

    assert measured["planted bugs that `make mutants` has caught"].endswith(f" of {len(BUGS)}")


def test_the_time_of_the_tests_is_said_twice_alike() -> None:
    said = [re.findall(r"about (\d+) minutes on two cores", page.read_text()) for page in (README, CONTRIBUTING)]

    assert len(said[0]) == 1
    assert said[0] == said[1]


def test_the_changelog_has_each_section_once_and_says_nothing_twice() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    (unreleased,) = re.findall(r"^## \[Unreleased\]$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^### (.+)$", unreleased, re.MULTILINE)
    entries = [" ".join(entry.split()) for entry in re.split(r"^(?:- |#|\*\*)", unreleased, flags=re.MULTILINE)]

    assert len(headings) == len(set(headings))
    # A list of features by subject, not of commits.
    assert len(unreleased.splitlines()) <= 200
    assert [entry for entry in entries if entry and entries.count(entry) > 1] == []


def test_every_link_between_documents_has_a_target() -> None:
    links = 0
    for page in all_pages():
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if target.startswith("https://"):
                continue
            links += 1
            path, _, anchor = target.partition("#")
            found = (page.parent / path).resolve() if path else page
            assert found.exists(), f"{page.name}: {target}"
            if anchor:
                assert anchor in anchors(found), f"{page.name}: {target}"
    assert links > 10


def test_every_page_is_in_the_index() -> None:
    index = DOCS / "README.md"
    linked = {(DOCS / target).resolve() for target in re.findall(r"\]\(([^)#\s]+)", index.read_text())}

    assert {path for path in DOCS.glob("*.md") if path != index} <= linked


def test_every_decision_is_listed() -> None:
    directory = ROOT / "docs" / "decisions"
    listed = re.findall(r"\]\((\d{4}-[^)]+)\)", (directory / "README.md").read_text())

    assert listed == sorted(path.name for path in directory.glob("[0-9]*.md"))


def test_no_document_contains_a_path_of_the_machine_it_was_written_on() -> None:
    for page in [*all_pages(), ROOT / "Makefile", ROOT / ".ci" / "run", *ROOT.glob("requirements/*")]:
        assert not re.search(r"/(work|root|home)/|pypi|pythonhosted", page.read_text()), page


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_the_first_flow_runs_as_written(server: Server, account: Client, tmp_path: Path) -> None:
    parts = re.findall(r"<!-- tested -->\n```sh\n(.*?)^```$", README.read_text(), re.MULTILINE | re.DOTALL)
    command = forked_command()
    script = "\n".join(["set -euo pipefail", f'flowrunner() {{ "{command.path}" "$@"; }}', *parts])
    for written, here in {
        "http://127.0.0.1:8080": server.url,
        "ada@example.com": account.email,
        "nine-quiet-herons": PASSWORD,
        # The same with shorter waits.
        "duration: 2s": "duration: 100ms",
    }.items():
        assert written in script
        script = script.replace(written, here)

    environment = clean_environment(HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
    done = subprocess.run(
        [str(BASH), "-c", script],
        cwd=tmp_path,
        pass_fds=[command.descriptor],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("Logged in to ")
    assert '\n"Hello, Ada!"\n' in done.stdout
    assert "info  say.1: Hello, Ada!\n" in done.stdout
