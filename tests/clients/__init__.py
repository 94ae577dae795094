"""Unmodified clients of OpenAI's API, of Open Responses and of MCP, at a live server."""
