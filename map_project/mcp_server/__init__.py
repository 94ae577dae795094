"""An MCP server at `/mcp`: the tenant's agents as tools. A translation of requests, results and errors.

Runs, limits, isolation and history are those of `/api/v1`: the same services do the work. There are no
sessions.
"""
