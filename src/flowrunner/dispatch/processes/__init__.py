"""Executions in engine processes on the same machine, beside the server's own process."""
