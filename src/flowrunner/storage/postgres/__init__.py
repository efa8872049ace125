"""PostgreSQL: for more than one server, or more than one machine's disk."""
