"""The connection to language models: validation, commands, and the test of the connection."""

import io
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from agents.credentials import encrypted_credential
from agents.models import LanguageModel
from map_project.api import secrets
from tests.providers.messages import message as anthropic_message
from tests.stub_model import StubModel, StubResponse, completion
from tests.unit.desk.conftest import signed_in

URL = "https://api.example.com/v1"


@pytest.fixture
def name() -> Iterator[str]:
    name = f"model-{uuid.uuid4()}"
    yield name
    LanguageModel.objects.filter(name=name).delete()


def command(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


BAD_URLS = {
    f"{URL}/chat/completions": "without /chat/completions",
    f"{URL}/Chat/Completions/": "without /chat/completions",
    f"{URL}/completions": "without /completions",
    f"{URL}/responses": "without /responses",
    f"{URL}/models": "without /models",
    f"{URL}/embeddings/": "without /embeddings",
    f"{URL}?api-version=1": "without a query or fragment",
    f"{URL}?": "without a query or fragment",
    f"{URL}#x": "without a query or fragment",
    "https://key@api.example.com/v1": "in its own field",
    "https://u:p@api.example.com": "in its own field",
    "api.example.com/v1": "full URL",
    "ftp://api.example.com": "full URL",
    "https://": "full URL",
    "http://a..b/v1": "full URL",
    "http://256.1.1.1/v1": "full URL",
    "http://h,h2/v1": "full URL",
    "http://-a.example/v1": "full URL",
    f"http://{'a' * 64}.example/v1": "full URL",
    "https://api.example.com/v1/messages": "without /messages",
    "https://api.example.com/v1/chat/": "without /chat",
    "https://api.example.com/v1/audio/speech": "without /audio/speech",
    "https://api.example.com/v1/chat/completions?api-version=1": "Enter https://api.example.com/v1 as",
    "https://Api.example.com/v1/responses/": "Enter https://Api.example.com/v1 as",
    "https://api.example.com/v1/messages/count_tokens": "Enter https://api.example.com/v1 as",
    "https://api.example.com/v1/moderations": "Enter https://api.example.com/v1 as",
    "http://ollama:11434/api/chat": "Enter http://ollama:11434/v1 as",
    "http://ollama:11434/api/generate": "Enter http://ollama:11434/v1 as",
    "http://.a/v1": "full URL",
    "http://a../v1": "full URL",
    "http://_a/v1": "full URL",
    "http://a_.example/v1": "full URL",
    "http://a b/v1": "full URL",
    "http://1.2.3/v1": "full URL",
    "http://1.2.3.0x1/v1": "full URL",
    "http://\N{FULLWIDTH DIGIT ONE}.1.1.1/v1": "full URL",
    "http://1.1.1.\N{ARABIC-INDIC DIGIT THREE}/v1": "full URL",
    f"http://{'ü' * 60}.example/v1": "full URL",
    "https://https://api.example.com/v1": "full URL",
    "https://api.example.com/<deployment>/v1": "full URL",
    "https://api.example.com/{deployment}/v1": "full URL",
    "https://${HOST}/v1": "full URL",
}
BAD_CREDENTIALS = {
    "Bearer sk-1": 'without "Bearer"',
    "bearer  sk-1": 'without "Bearer"',
    "Authorization: Bearer sk-1": 'without "Bearer"',
    "Token sk-1": 'without "Bearer"',
    "`sk-1`": "without quotes",
    "OPENAI_API_KEY=sk-1": "value of the variable",
    "export OPENAI_API_KEY=sk-1": "value of the variable",
    "$OPENAI_API_KEY": "value of the variable",
    "${OPENAI_API_KEY}": "value of the variable",
    "OPENAI_API_KEY": "value of the variable",
    "{{OPENAI_API_KEY}}": "value of the variable",
    "%OPENAI_API_KEY%": "value of the variable",
    "$env:OPENAI_API_KEY": "value of the variable",
    "openai_api_key=sk-1": "value of the variable",
    "set OPENAI_API_KEY=sk-1": "value of the variable",
    "x-api-key: sk-1": "value of the variable",
    "Api-Key: sk-1": "name of a header",
    "Authorization:sk-1": "name of a header",
    "Bearer\tsk-1": 'without "Bearer"',
    "sk-1`": "without quotes",
    "\N{LEFT DOUBLE QUOTATION MARK}sk-1\N{RIGHT DOUBLE QUOTATION MARK}": "without quotes",
    "<your API key>": "not a placeholder",
    "sk-...1234": "not a placeholder",
    "sk-1****": "not a placeholder",
    "sk-1\nsk-2": "line breaks",
    "sk\t1": "line breaks",
    '"sk-1"': "without quotes",
    "'sk-1'": "without quotes",
    "sk 1": "without spaces",
    "sk-é": "printable ASCII",
    "x" * 4097: "printable ASCII",
}


@pytest.mark.parametrize(("url", "message"), BAD_URLS.items())
def test_a_wrong_base_url_is_refused(name: str, url: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        command("create_model", name, "--base-url", url)
    assert not LanguageModel.objects.filter(name=name).exists()


@pytest.mark.parametrize(
    "url",
    [
        URL,
        f"{URL}/",
        "http://ollama:11434/v1",
        "http://[::1]:80/v1",
        "http://my_host./chat",
        "http://127.0.0.1/v1",
    ],
)
def test_a_base_url_is_accepted(name: str, url: str) -> None:
    command("create_model", name, "--base-url", url)
    assert LanguageModel.objects.get(name=name).base_url == url


@pytest.mark.parametrize(("credential", "message"), BAD_CREDENTIALS.items())
def test_a_wrong_credential_is_refused(name: str, credential: str, message: str) -> None:
    with pytest.raises(CommandError, match=message):
        command("create_model", name, "--credential", credential)
    with pytest.raises(ValidationError):
        encrypted_credential(credential)
    assert not LanguageModel.objects.filter(name=name).exists()


@pytest.mark.parametrize(
    "credential", ["sk-proj-1_2", "bearerless", "tokenizer.1", "a/b+c==", "token-abc123", "A_B="]
)
def test_a_credential_is_encrypted(name: str, credential: str) -> None:
    command("create_model", name, "--credential", credential)
    model = LanguageModel.objects.get(name=name)
    assert secrets.decrypt(model.credential_token) == credential
    assert credential not in model.credential_token


def test_openai_without_url_and_credential_is_refused(name: str) -> None:
    with pytest.raises(CommandError, match="base URL or a credential"):
        command("create_model", name)
    command("create_model", name, "--provider", "mock")
    with pytest.raises(CommandError, match="base URL or a credential"):
        command("update_model", name, "--provider", "openai")
    command("update_model", name, "--provider", "openai", "--credential", "sk-1")
    with pytest.raises(CommandError, match="base URL or a credential"):
        command("update_model", name, "--remove-credential")


@pytest.mark.parametrize("character", ["\t", "\n", "\x1b", "\u200b", "\u2028", "\xa0", " "])
def test_a_name_is_printable(name: str, character: str) -> None:
    command("create_model", name, "--provider", "mock")
    for wrong in (f"{name}{character}", character):
        with pytest.raises(CommandError, match="printable"):
            command("create_model", wrong, "--provider", "mock")
        with pytest.raises(CommandError, match="printable"):
            command("update_model", name, "--name", wrong)
        with pytest.raises(CommandError, match="printable"):
            command("update_model", name, "--upstream-name", wrong)


@pytest.mark.parametrize("arguments", [("create_model",), ("update_model",), ("test_model",)])
def test_nul_in_a_name_is_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="NUL"):
        command(*arguments, "a\0b")
    with pytest.raises(CommandError, match=r"blank|No model has the name"):
        command(*arguments, "")


def test_a_list_has_one_line_per_model(name: str) -> None:
    row = LanguageModel.objects.create(name=f"{name}\t\n\x1b", provider="mock")
    try:
        lines = command("list_models").splitlines()
        assert f"{name}\\t\\n\\x1b\tmock\t-\t-\t-\tactive\t-\t-" in lines
    finally:
        row.delete()


@pytest.mark.parametrize(
    "url", ["http://a..b/v1", f"http://{'a' * 64}/v1", "http://256.1.1.1/v1", "http://h,h/v1", "x"]
)
def test_a_stored_base_url_that_cannot_work_is_reported(name: str, url: str) -> None:
    LanguageModel.objects.create(name=name, provider="openai", base_url=url)
    with pytest.raises(CommandError, match=r"Request: failed\. Reason: (unreachable|bad_request)"):
        command("test_model", name)


def test_a_model_of_anthropic_requires_a_credential_or_a_base_url(
    name: str, model_server: StubModel
) -> None:
    with pytest.raises(CommandError, match=r"requests are sent to api\.anthropic\.com"):
        command("create_model", name, "--provider", "anthropic")
    command("create_model", name, "--provider", "anthropic", "--base-url", model_server.url)
    model_server.says(anthropic_message("OK."))
    assert command("test_model", name).count("OK.") == 2
    assert {request.path for request in model_server.requests} == {"/v1/messages"}


def test_a_model_is_created_changed_and_listed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("sk-1\nmore"))
    out = command(
        *("create_model", name, "--base-url", URL, "--credential-stdin", "--upstream-name", "up"),
        *("--input-price", "2.50", "--output-price", "10", "--timeout", "30", "--max-retries", "0"),
        *("--max-output-tokens", "500"),
    )
    assert name in out
    assert "sk-1" not in out
    model = LanguageModel.objects.get(name=name)
    assert secrets.decrypt(model.credential_token) == "sk-1"
    assert (model.timeout_seconds, model.max_retries, model.max_output_tokens) == (30, 0, 500)
    lines = [line.split("\t") for line in command("list_models").splitlines()]
    assert [name, "openai", "up", URL, "set", "active", "2.5", "10"] in lines
    command(
        *("update_model", name, "--upstream-name", "", "--input-price", "none", "--inactive"),
        *("--max-output-tokens", "none", "--remove-credential"),
    )
    lines = [line.split("\t") for line in command("list_models").splitlines()]
    assert [name, "openai", "-", URL, "-", "inactive", "-", "10"] in lines
    command("update_model", name, "--active")
    assert LanguageModel.objects.get(name=name).is_active


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--timeout", "0"], "greater than or equal to 1"),
        (["--max-retries", "11"], "less than or equal to 10"),
        (["--input-price", "-1"], "greater than or equal to 0"),
        (["--input-price", "NaN"], "number|valid"),
        (["--input-price", "x"], "not a number"),
        (["--input-price", "\N{FULLWIDTH DIGIT ONE}"], "not a number"),
        (["--input-price", "1e3"], "not a number"),
        (["--input-price", "Infinity"], "not a number"),
        (["--output-price", "1_0"], "not a number"),
        (["--timeout", "\N{FULLWIDTH DIGIT ONE}"], "non-negative integer"),
        (["--upstream-name", "a\tb"], "printable"),
        (["--upstream-name", " a"], "printable"),
        (["--max-output-tokens", "-1"], "non-negative integer"),
        (["--provider", "none"], "invalid choice"),
    ],
)
def test_wrong_options_are_refused(name: str, arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        command("create_model", name, "--base-url", URL, *arguments)
    assert not LanguageModel.objects.filter(name=name).exists()


@pytest.mark.parametrize("command_name", ["update_model", "test_model"])
def test_an_unknown_model_is_reported(command_name: str) -> None:
    with pytest.raises(CommandError, match="No model has the name 'none'"):
        command(command_name, "none")


def test_a_name_is_unique(name: str) -> None:
    command("create_model", name, "--base-url", URL)
    with pytest.raises(CommandError, match="already exists"):
        command("create_model", name, "--base-url", URL)


def test_the_connection_is_tested(name: str, model_server: StubModel) -> None:
    model_server.says(completion("OK"))
    command("create_model", name, "--base-url", model_server.url)
    first, second = command("test_model", name).splitlines()
    assert first.startswith("Request: succeeded in ")
    assert first.endswith("ms. OK")
    assert second.startswith("Request with a tool: succeeded")
    plain, with_tool = model_server.requests
    assert ("tools" in plain.body, "tools" in with_tool.body) == (False, True)


@pytest.mark.parametrize(
    ("response", "messages"),
    [
        (
            StubResponse(401, {"error": {"message": "Bad key sk-12345678.", "code": "bad_key"}}),
            ["Request: failed.", "auth", "HTTP 401", "code bad_key", "Bad key [secret]"],
        ),
        (StubResponse(500, b""), ["server_error", "HTTP 500"]),
        ({"x": 1}, ["bad_answer"]),
    ],
)
def test_a_failed_test_says_why(
    name: str, model_server: StubModel, response: Any, messages: list[str]
) -> None:
    model_server.says(response)
    command("create_model", name, "--base-url", model_server.url)
    with pytest.raises(CommandError) as raised:
        command("test_model", name)
    for message in messages:
        assert message in str(raised.value)
    assert len(model_server.requests) == 1


def test_a_server_without_tools_is_noticed(name: str, model_server: StubModel) -> None:
    def refuse_tools(body: dict[str, Any]) -> Any:
        if "tools" in body:
            return StubResponse(400, {"error": {"message": "does not support tools"}})
        return completion("OK")

    model_server.says(refuse_tools)
    command("create_model", name, "--base-url", model_server.url)
    with pytest.raises(CommandError, match=r"with a tool: failed\..*does not support tools"):
        command("test_model", name)


def test_an_unreachable_server_is_reported(name: str) -> None:
    command("create_model", name, "--base-url", "http://127.0.0.1:1/v1")
    with pytest.raises(CommandError, match="unreachable, no response"):
        command("test_model", name)


@pytest.fixture(scope="module")
def operator() -> Client:
    return signed_in("operator")


def test_the_button_of_the_admin(operator: Client, name: str, model_server: StubModel) -> None:
    model_server.says(completion("OK <b>"))
    command("create_model", name, "--base-url", model_server.url)
    model = LanguageModel.objects.get(name=name)
    page = reverse("admin:agents_languagemodel_change", args=[model.pk])
    path = reverse("admin:test_connection", args=[model.pk])
    assert f'action="{path}"' in operator.get(page).content.decode()
    assert operator.get(path).status_code == 403
    assert signed_in("auditor").post(path).status_code == 403
    assert model_server.requests == []
    model_server.says(completion("OK <b> \ud800\x1b[31m"))
    shown = operator.post(path, follow=True).content.decode()
    assert "succeeded in" in shown
    assert "OK &lt;b&gt;" in shown
    assert operator.post(reverse("admin:test_connection", args=[2**31])).status_code == 404
    model_server.says(StubResponse(401, {"error": {"message": "No key."}}))
    assert "No key." in operator.post(path, follow=True).content.decode()
    assert path not in signed_in("auditor").get(page).content.decode()
    assert path not in operator.get(reverse("admin:agents_languagemodel_add")).content.decode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_url": f"{URL}/chat/completions"}, "without /chat/completions"),
        ({"credential": "Bearer sk-1"}, "without &quot;Bearer&quot;"),
        ({"base_url": "", "credential": ""}, "Enter a base URL or a credential."),
        ({"credential": "sk-1\nsk-2"}, "without spaces and line breaks"),
        ({"credential": "$OPENAI_API_KEY"}, "value of the variable"),
        ({"name": "a\tb"}, "printable characters"),
        ({"upstream_name": "a\u200bb"}, "printable characters"),
        ({"name": "a\0b"}, "Null characters are not allowed."),
        ({"name": " "}, "This field is required."),
        ({"input_price_per_million": "\N{FULLWIDTH DIGIT ONE}"}, "digits 0 to 9"),
        ({"output_price_per_million": "1e3"}, "digits 0 to 9"),
        ({"output_price_per_million": "1_0"}, "digits 0 to 9"),
        ({"input_price_per_million": "NaN"}, "Enter a number"),
        ({"input_price_per_million": "Infinity"}, "Enter a number"),
        ({"timeout_seconds": "\N{FULLWIDTH DIGIT ONE}"}, "digits 0 to 9"),
        ({"max_output_tokens": "1_0"}, "digits 0 to 9"),
        ({"input_price_per_million": " 2.50 ", "output_price_per_million": ".5"}, ""),
        ({"base_url": "", "credential": "sk-1", "remove_credential": "on"}, ""),
    ],
)
def test_the_form_has_the_same_rules(
    operator: Client, name: str, changes: dict[str, str], message: str
) -> None:
    form = {
        "name": name,
        "provider": "openai",
        "is_active": "on",
        "base_url": URL,
        "timeout_seconds": "60",
        "max_retries": "2",
        **changes,
    }
    response = operator.post(reverse("admin:agents_languagemodel_add"), form)
    if message:
        assert message in response.content.decode()
    assert LanguageModel.objects.filter(name=name).exists() == (not message)
