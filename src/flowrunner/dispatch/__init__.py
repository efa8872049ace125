"""Who advances an execution."""
