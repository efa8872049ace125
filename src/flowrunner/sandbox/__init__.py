"""JavaScript in jailed worker processes. Implements `ports.Sandbox`."""
