"""The commands of docs/importing.md: each runs as it is written, and prints what the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from docs.pages import DOCS
from support.server import clean_environment

_BLOCK: Final = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_command_prints_what_the_page_says(tmp_path: Path) -> None:
    found = _BLOCK.findall((DOCS / "importing.md").read_text())
    commands, printed = [text for kind, text in found if kind == "sh"], [text for kind, text in found if kind == "text"]
    assert len(commands) == len(printed) == 3

    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for script, expected in zip(commands, printed, strict=True):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path, env=clean_environment(HOME=str(tmp_path), PATH=path), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.stdout == expected
