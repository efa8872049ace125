"""The package of the page about node types: it is installed, and each command prints what the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from docs.pages import DOCS
from docs.test_cli_pages import fits
from support.server import clean_environment

PAGE: Final = DOCS / "node-types.md"
_FILE: Final = re.compile(r"^<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The environment of the tests stays as it is.
_INSTALL: Final = "python -m pip install -q --no-deps --no-build-isolation --no-index --target packages ."


def test_the_package_works_as_the_page_says(tmp_path: Path) -> None:
    text = PAGE.read_text()
    for name, content in _FILE.findall(text):
        (tmp_path / name).write_text(content)
    [(script, expected)] = re.findall(r"^```sh\n(.*?)^```\n\n```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert script.startswith("pip install .\n")

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace("pip install .", _INSTALL, 1)],
        cwd=tmp_path,
        env=clean_environment(
            HOME=str(tmp_path), PATH=path, PYTHONPATH=str(tmp_path / "packages"), PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
            PYTEST_ADDOPTS="",
        ),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120,
    )  # fmt: skip

    assert fits(expected, done.stdout), done.stdout
