"""The MCP server: tools and resources for agents, which are requests to the REST API."""
