"""Examples at the end of a command's help."""


def examples(*lines: str, note: str = "") -> str:
    """Return the epilog of a command with these command lines, without the name of the program."""
    block = "\n".join(f"  flowrunner {line}" for line in lines)
    return f"\b\nExample{'s' if len(lines) > 1 else ''}:\n{block}" + (f"\n\n{note}" if note else "")
