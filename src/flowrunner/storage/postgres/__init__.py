"""PostgreSQL, for several servers or data beyond the disk of one machine."""
