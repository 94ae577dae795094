"""Numbers in JSON: exact, or refused."""

import json
import math

import orjson
import pytest

from map_project.api.numbers import inexact_number, loads

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
def test_a_number_that_would_change_is_found(form: str, number: str) -> None:
    for text in (form.format(number), form.format(number).encode()):
        found = inexact_number(loads(text))
        assert found is not None
        assert found.text == number
        assert number[:40] in str(found)
        assert len(str(found)) < 150


@pytest.mark.parametrize("number", KEPT)
def test_other_numbers_are_kept(number: str) -> None:
    value = loads(f'{{"a": {number}}}')["a"]
    assert inexact_number(value) is None
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


def test_other_values_beside_it_are_kept() -> None:
    text = '{"a": [1, 2.5, 18446744073709551615, 18446744073709551616, null, "x"]}'
    values = loads(text)["a"]
    number = values.pop(3)
    assert (values, number.text) == ([1, 2.5, 2**64 - 1, None, "x"], "18446744073709551616")
    with pytest.raises(TypeError):
        orjson.dumps(number)


def test_integers_of_python_are_found() -> None:
    found = inexact_number([2**64 - 1, {"a": -(2**63) - 1}])
    assert found is not None
    assert found.text == str(-(2**63) - 1)


def test_depth_is_bounded() -> None:
    with pytest.raises(orjson.JSONDecodeError):
        loads("[" * 1020 + "1" * 30 + "]" * 1020)


@pytest.mark.parametrize(
    "text", ["1e400", "1" * 5_000, "NaN", "[100000000000000000000", '"\\ud800"', ""]
)
def test_invalid_json_is_reported_as_such(text: str) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        loads(text)
