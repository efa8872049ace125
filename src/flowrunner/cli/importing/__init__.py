"""Documents of other programs, turned into flows."""
