"""Execution of flows without a server: in memory, and for flow tests on a virtual clock."""
