"""The tool that a model means."""

import pytest

from executions.tool_names import resolve

# Function names, and the names that the tenant gave the tools.
TOOLS = {
    "web": "web",
    "Files": "Files",
    "files": "files",
    "get_weather": "get_weather",
    "weather_now_1a2b3c4d": "weather now",
    "functions_time_5e6f7a8b": "functions.time",
    "time": "time",
}


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("web", "web"),
        (" web ", "web"),
        ("web\n", "web"),
        ("WEB", "web"),
        ("functions.web", "web"),
        ("function.web", "web"),
        ("tools.web", "web"),
        ("default_api.web", "web"),
        ("functions.web:0", "web"),
        (" Functions.Web ", "web"),
        ("functions.Web", "web"),
        ("files", "files"),
        ("Files", "Files"),
        (" Files ", "Files"),
        ("functions.files", "files"),
        # Two tools match.
        ("FILES", "FILES"),
        ("get-weather", "get_weather"),
        ("Get Weather", "get_weather"),
        ("weather now", "weather_now_1a2b3c4d"),
        ("weather_now", "weather_now_1a2b3c4d"),
        ("functions.time", "functions_time_5e6f7a8b"),
        ("time", "time"),
        ("tools.time", "tools.time"),
        ("unknown", "unknown"),
        ("functions.", "functions."),
        ("", ""),
        (" ", " "),
        ("other.web", "other.web"),
        ("we b", "we b"),
        ("w" * 10_000, "w" * 10_000),
    ],
)
def test_a_name_resolves_to_the_one_tool_that_matches(name: str, function: str) -> None:
    assert resolve(name, TOOLS) == function
