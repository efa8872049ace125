"""Executions assigned to workers by Temporal: any number of servers and workers share one journal."""
