"""The samples at the head of pages, which a reader copies before anything else."""

import shutil
from pathlib import Path

import pytest

from docs.pages import API, DOCS, TELEMETRY, blocks
from docs.test_cli_pages import ADDRESS, shell
from support.client import Client

CALLBACKS = DOCS / "callbacks.md"


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="needs bash and curl")
def test_each_first_sample_does_what_its_page_says(account: Client, tmp_path: Path) -> None:
    scopes = ["read", "run", "write"]
    token = account.post("/api/v1/tokens", {"name": "sample", "scopes": scopes}).json["token"]
    for page, said in (
        (API, '"status":"completed"'),
        (CALLBACKS, "alerts  execution.failed  slack   yes"),
        (TELEMETRY, 'flowrunner_executions_ended_total{status="completed"}'),
    ):
        script = blocks(page, "sh")[0].replace(ADDRESS, account.url).replace("fr_pat_…", token)
        process = shell(f"set -euo pipefail\n{script}", tmp_path, FLOWRUNNER_URL=account.url, FLOWRUNNER_TOKEN=token)
        seen, _ = process.communicate(timeout=60)
        assert process.returncode == 0, seen
        assert said in seen
        assert page is not API or '"result":42' in seen
