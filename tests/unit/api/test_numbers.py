"""Numbers in JSON: exact, or refused."""

import json
import math

import orjson
import pytest

from map_project.api.numbers import InexactNumber, loads

REFUSED = [
    "18446744073709551616",
    "-9223372036854775809",
    "100000000000000000000",
    "1" * 300,
    "9007199254740993.0",
    "-9007199254740993.0",
    "9007199254740992.5",
    "9.007199254740993e15",
    "123456789012345678901234567890.5",
    "123456789012345678e3",
]
KEPT = [
    "0",
    "-0.0",
    "5.0",
    "18446744073709551615",
    "-9223372036854775808",
    "9007199254740993",
    "9007199254740992.0",
    "1e20",
    "1e23",
    "1.7976931348623157e+308",
    "5e-324",
    "52.520006599999998",
    "1234567890123456e-10",
]


@pytest.mark.parametrize("number", REFUSED)
@pytest.mark.parametrize("form", ["{}", '{{"a": [1, {{"b": {}}}]}}', '["\\"1",{},"\\\\"]'])
def test_a_number_that_would_change_is_refused(form: str, number: str) -> None:
    for text in (form.format(number), form.format(number).encode()):
        with pytest.raises(InexactNumber, match=number[:40]) as caught:
            loads(text)
        assert len(str(caught.value)) < 150


@pytest.mark.parametrize("number", KEPT)
def test_other_numbers_are_kept(number: str) -> None:
    value = loads(f'{{"a": {number}}}')["a"]
    assert value == json.loads(number)
    assert type(value) is type(json.loads(number))
    assert math.copysign(1, value) == math.copysign(1, json.loads(number))


@pytest.mark.parametrize("number", ["0.1000000000000000055511151231257827", "1e-400"])
def test_a_fraction_is_rounded_to_the_nearest_double(number: str) -> None:
    assert loads(number) == float(number)


@pytest.mark.parametrize(
    "text",
    [
        '"100000000000000000000"',
        '{"100000000000000000000": "x"}',
        '["\\\\\\"100000000000000000000", 1]',
        '"\\u0031 100000000000000000000.5"',
    ],
)
def test_digits_in_a_text_are_no_number(text: str) -> None:
    assert loads(text) == json.loads(text)


@pytest.mark.parametrize(
    "text", ["1e400", "1" * 5_000, "NaN", "[100000000000000000000", '"\\ud800"', ""]
)
def test_invalid_json_is_reported_as_such(text: str) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        loads(text)
