"""Dispatchers, which choose the process that advances an execution."""
