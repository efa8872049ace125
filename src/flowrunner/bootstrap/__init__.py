"""Construction of the running program from its settings. Only this package imports every other part."""
