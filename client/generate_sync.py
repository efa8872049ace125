"""Write the synchronous half of the Python client from the asynchronous one, which is the same without `await`."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

CLIENT: Final = Path(__file__).resolve().parents[1] / "src" / "flowrunner" / "client"
SOURCES: Final = (CLIENT / "async_client.py", CLIENT / "async_entries.py")
# Regular expressions and what replaces them, in this order.
RULES: Final = (
    (r"^import asyncio\n", ""),
    (r"await asyncio\.to_thread\(([\w.()]+), ", r"\1("),
    (r"asyncio\.sleep", "time.sleep"),
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\b__a(enter|exit|iter)__", r"__\1__"),
    (r"\bfor (\w+) in (.*):\n +yield \1\n", r"yield from \2\n"),
    (r"\bis_async = True", "is_async = False"),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bAsync(Entries|Transport)?\b", r"Sync\1"),
    (r"\basync_(entries|transport)\b", r"sync_\1"),
    (r"\bAsync(Client|Run)\b", r"\1"),
    (r", for asyncio\.", ". Threads may share it."),
)


def main() -> None:
    for source in SOURCES:
        target_of(source).write_text(synchronous(source))


def target_of(source: Path) -> Path:
    return source.with_name(source.name.replace("async", "sync"))


def synchronous(source: Path) -> str:
    """Return the module without coroutines, with sorted imports and formatted."""
    head, _, text = source.read_text().partition("\n")
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    head = head.replace("asynchronous", "synchronous").removesuffix('"""')
    text = f'{head} Written by `make client` from `{source.name}`."""\n{text}'
    target = target_of(source)
    return _ruff(_ruff(text, target, "check", "--select=I", "--fix", "--quiet"), target, "format")


def _ruff(text: str, target: Path, *arguments: str) -> str:
    command = [Path(sys.executable).with_name("ruff"), *arguments, "--stdin-filename", target, "-"]
    return subprocess.run(command, input=text, stdout=subprocess.PIPE, check=True, text=True).stdout  # noqa: S603


if __name__ == "__main__":
    main()
