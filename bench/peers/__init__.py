"""FlowRunner beside others that do the same, each by the way of its own documentation."""
