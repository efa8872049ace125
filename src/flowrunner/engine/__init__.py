"""Advances executions: load, decide, run nodes, record."""
