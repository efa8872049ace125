"""Sessions with IMAP servers for the node types of flows, bounded in what they read.

Source: RFC 3501; RFC 6851 for `MOVE`; RFC 4422 and RFC 7628 for logins.
"""
