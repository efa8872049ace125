"""Command-line interface `flowrunner`."""

from flowrunner.cli.main import main

__all__ = ["main"]
