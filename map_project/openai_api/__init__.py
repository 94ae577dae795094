"""The OpenAI-compatible API at `/v1`: a translation of requests, responses and errors.

Runs, limits, isolation and history are those of `/api/v1`: the same services do the work.
"""
