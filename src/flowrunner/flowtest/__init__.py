"""Runs flows without a server: with everything in memory, and for tests with a clock of their own."""
