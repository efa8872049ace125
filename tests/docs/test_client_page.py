"""The samples of docs/client.md: each runs as it is written, and prints what the page says."""

import contextlib
import io
import re
import subprocess
from pathlib import Path
from typing import Any, Final

from docs.pages import DOCS, ROOT
from support.client import Client

PAGE: Final = DOCS / "client.md"
_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_sample_does_what_the_page_says(account: Client, tmp_path: Path) -> None:
    token = account.post("/api/v1/tokens", {"name": "client", "scopes": ["read", "run", "write"]}).json["token"]
    text = PAGE.read_text().replace("http://127.0.0.1:8080", account.url).replace("fr_pat_…", token)
    found = _BLOCK.findall(text)
    samples = [sample for language, sample in found if language == "python"]
    printed = [expected for language, expected in found if language == "text"]
    names: dict[str, Any] = {}

    assert len(samples) == len(printed) == 9
    for sample, expected in zip(samples, printed, strict=True):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(sample, names)
        assert output.getvalue() == expected, sample
    names["client"].close()
    install, download = (sample for language, sample in found if language == "sh")
    subprocess.run(["bash", "-ec", download], cwd=tmp_path, check=True)
    types = (tmp_path / "flowrunner-api.d.ts").read_text()
    assert types == (ROOT / "ui" / "src" / "api" / "schema.ts").read_text()
    assert "export interface paths" in types
    # The directory that it installs is built, installed and run in tests/client/test_distribution.py.
    assert install.strip() == "pip install './client[async]'"
