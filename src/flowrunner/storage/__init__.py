"""Persistent storage. No SQL exists outside this package."""
