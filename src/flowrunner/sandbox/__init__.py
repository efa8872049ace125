"""JavaScript in jailed worker processes. Fills `ports.Sandbox`."""
