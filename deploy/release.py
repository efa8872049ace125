"""The files of a release: `make release` writes them into dist/.

Wheels and source archives of the server and the client, each built twice from the last commit and compared byte by
byte; the versions and hashes of what the server and its extras need; the components of the runtime as CycloneDX; and
SHA256SUMS of all.
"""

# Nothing that it runs is chosen by anyone but this file.
# ruff: noqa: S603, S607

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
TARGET: Final = ROOT / "dist"
SUMS: Final = "SHA256SUMS"
# The projects of the repository, by their directories.
PROJECTS: Final = (".", "client")
# What the documented installation installs before a wheel.
LOCKS: Final = ("runtime.txt", "mcp.txt", "otel.txt", "temporal.txt")


def main() -> None:
    """Build the release of the last commit, and print its files."""
    if _git("status", "--porcelain", "--untracked-files=no"):
        sys.exit("there are changes that are not committed: a release is made from a commit")
    # The time of the commit is that of all files in the archives.
    moment = _git("log", "-1", "--format=%ct")
    with tempfile.TemporaryDirectory(prefix="flowrunner-release-") as scratch:
        first, second = (_built(Path(scratch) / name, moment) for name in ("first", "second"))
        if different := [name for name in sorted(first.keys() | second.keys()) if first.get(name) != second.get(name)]:
            sys.exit(f"two builds of the same commit differ: {', '.join(different)}")
    version = next(name.split("-")[1] for name in first if name.endswith(".whl"))
    shutil.rmtree(TARGET, ignore_errors=True)
    TARGET.mkdir()
    for name, content in first.items():
        (TARGET / name).write_bytes(content)
    for name in LOCKS:
        shutil.copyfile(ROOT / "requirements" / name, TARGET / name)
    _write_components(TARGET / f"flowrunner-server-{version}.cdx.json")
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(TARGET.iterdir())]
    (TARGET / SUMS).write_text("".join(sums))
    print("".join(sums), end="")


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _built(directory: Path, moment: str) -> dict[str, bytes]:
    """Return the archives by name, built from an export of the last commit in a directory of its own."""
    source = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=BytesIO(source)) as archive:
        archive.extractall(directory / "source", filter="tar")
    for project in PROJECTS:
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "--directory", directory / "built"],
            cwd=directory / "source" / project, check=True, stdout=subprocess.DEVNULL,
            env={**os.environ, "SOURCE_DATE_EPOCH": moment},
        )  # fmt: skip
    return {path.name: path.read_bytes() for path in (directory / "built").iterdir()}


def _write_components(path: Path) -> None:
    subprocess.run(
        [
            sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", "--output-reproducible",
            "--pyproject", "pyproject.toml", "--output-file", path, "requirements/runtime.txt",
        ],
        cwd=ROOT, check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip


if __name__ == "__main__":
    main()
