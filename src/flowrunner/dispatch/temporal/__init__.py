"""Executions that Temporal places: any number of servers and workers, one journal."""
