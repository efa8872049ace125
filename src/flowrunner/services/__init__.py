"""The use cases behind the API, one module per feature."""
