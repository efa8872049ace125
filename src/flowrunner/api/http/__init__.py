"""Plumbing of HTTP: connections, routing, errors and answers."""
