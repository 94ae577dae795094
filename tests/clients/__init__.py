"""Unmodified clients of OpenAI's API and of Open Responses, at a live server."""
