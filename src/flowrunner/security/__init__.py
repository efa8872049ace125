"""Passwords and tokens, encrypted secrets, and restrictions on outgoing connections."""
