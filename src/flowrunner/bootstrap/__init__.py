"""Builds the running program from its settings; the only part of it that sees all the others."""
