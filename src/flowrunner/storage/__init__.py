"""Everything that is kept: all SQL, and only here."""
