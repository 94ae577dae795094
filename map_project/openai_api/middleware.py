"""Middleware that gives every error under `/v1` the form of OpenAI's API, whichever part responds with it."""

from collections.abc import Callable

import orjson
from django.http import HttpRequest, HttpResponse

from map_project.openai_api.errors import may_have_run, openai_error

_RUNS = {"/v1/responses", "/v1/chat/completions"}


class OpenAIErrorMiddleware:
    """Replaces the body of errors under `/v1`. Their status and their headers are kept."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code >= 400 and f"{request.path}/".startswith("/v1/"):
            status, body = response.status_code, orjson.loads(response.content)
            response.content = orjson.dumps(openai_error(status, body))
            if request.path in _RUNS and may_have_run(status, body):
                response["x-should-retry"] = "false"
        return response
