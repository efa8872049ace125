"""A client of PostgreSQL for queries of flows: on a blocking socket, with all values as text, and bounded.

Servers are chosen by authors of flows and may be hostile: every length is checked before it is read, nothing of the
environment of this process is used, and no login takes unbounded time (decision 0029).
"""
