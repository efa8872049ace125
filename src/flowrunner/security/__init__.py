"""Passwords and tokens, secrets at rest, and where nodes may connect."""
