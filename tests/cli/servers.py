"""What the tests of commands that talk to a server share."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.command import flowrunner
from support.client import Client


class User:
    """Somebody with a token, who gives commands in a directory of their own."""

    def __init__(self, client: Client, home: Path) -> None:
        self.client = client
        self.home = home
        self.environment = {"FLOWRUNNER_URL": client.url, "FLOWRUNNER_TOKEN": client.token or ""}

    def __call__(
        self,
        *arguments: str | Path,
        stdin: str | bytes | None = None,
        code: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        """Give a command, which must end with this exit code."""
        done = flowrunner(
            *arguments, at=self.home, stdin=stdin, environment={**self.environment, **(environment or {})}
        )
        assert done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str | Path, **more: Any) -> Any:
        return json.loads(self(*arguments, "-o", "json", **more).stdout)
