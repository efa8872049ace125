"""The rules of FlowRunner as values and pure functions: no I/O, no clock, no randomness."""
