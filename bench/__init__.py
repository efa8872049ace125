"""How fast FlowRunner is, measured side by side with what limits it."""
