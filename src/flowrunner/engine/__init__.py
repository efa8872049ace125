"""The engine: load executions, decide, run nodes, record."""
