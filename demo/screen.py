"""What the demo prints: aligned, and coloured where somebody looks at it."""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, Final

_COLOURS: Final = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36", "dim": "2", "bold": "1"}
_IS_COLOURED: Final = sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
_WIDTH: Final = 78
_COLOUR_OF: Final = {
    "execution_update": "blue",
    "node_completed": "green",
    "execution_completed": "green",
    "execution_failed": "red",
    "log": "dim",
}


def coloured(text: str, colour: str) -> str:
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if _IS_COLOURED else text


def say(text: str = "") -> None:
    print(text, flush=True)


def chapter(title: str) -> None:
    say(f"\n{coloured(title, 'bold')}")


def fact(name: str, value: object) -> None:
    text = value if isinstance(value, str) else compact(value)
    say(f"  {name:<18} {text}")


def event(message: Mapping[str, Any]) -> None:
    """One message of the WebSocket as a line: number, time, type, node, and what is new."""
    kind = message["type"]
    line = f"  {message['seq']:>3}  {message['timestamp'][11:23]}  {kind:<19}  {message.get('node_id') or '':<8}"
    say(coloured(f"{line} {shortened(_news(message))}", _COLOUR_OF.get(kind, "cyan")))


def log_line(line: Mapping[str, Any]) -> None:
    text = f"  {line['timestamp'][11:23]}  {line['level']:<5}  {line.get('node_id') or '':<8} {line['message']}"
    say(coloured(text, {"error": "red", "warn": "yellow"}.get(line["level"], "dim")))


def compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def shortened(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def _news(message: Mapping[str, Any]) -> str:
    match message["type"]:
        case "execution_update":
            attempt = f", attempt {message['attempt']}" if message.get("attempt", 1) > 1 else ""
            error = f": {message['error']}" if "error" in message else ""
            return f"{message['status']}{attempt}{error}"
        case "log":
            return f"{message['level']}: {message['message']}"
        case "execution_failed":
            return str(message["error"])
        case _:
            return compact(_essence(message["result"]))


def _essence(result: Any) -> Any:
    """What matters of an HTTP node's result: its headers and timings fill the line."""
    if isinstance(result, dict) and "status_code" in result:
        return {"status_code": result["status_code"], "body": result["body"]}
    return result
