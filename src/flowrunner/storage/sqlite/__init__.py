"""SQLite, the embedded default: one file in the data directory."""
