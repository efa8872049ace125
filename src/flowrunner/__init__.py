"""FlowRunner: durable flows over REST and WebSocket."""

__version__ = "0.1.0"
