"""The use cases behind the API, one module a feature."""
