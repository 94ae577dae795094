"""The removal of reasoning from the texts of models."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executions.providers.openai.reasoning import TextStream, without_reasoning


def streamed(pieces: list[str]) -> str:
    stream = TextStream()
    return "".join([*map(stream.add, pieces), stream.finish()])


TEXTS = [
    ("42", "42"),
    ("", ""),
    ("  \n", "  \n"),
    (" 42 ", " 42 "),
    ("<think>hmm</think>\n\n42", "42"),
    ("<think></think>42", "42"),
    ("\n <THINK>hmm</Think> 42", "42"),
    ("<thinking>a <think>b</think> c</thinking>42", "42"),
    ("<think>a</think><thought>b</thought> <reasoning>c</reasoning>42", "42"),
    ("[THINK]hmm[/THINK]42", "42"),
    ("<think>never closed", ""),
    ("<think>a</think>\n  ", ""),
    ("<think>a</think> <think>b", ""),
    ("<thin", "<thin"),
    ("<thinker>42", "<thinker>42"),
    ("<think>a</think> <b>42", "<b>42"),
    ("42 <think>no</think>", "42 <think>no</think>"),
    ("<think>İİİ</think>42", "42"),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS)
def test_reasoning_in_tags_is_removed(text: str, expected: str) -> None:
    assert without_reasoning(text) == expected
    assert streamed([*text]) == expected
    for at in range(len(text)):
        assert streamed([text[:at], text[at:]]) == expected


def test_a_text_without_reasoning_is_not_held_back() -> None:
    stream = TextStream()
    assert [stream.add(piece) for piece in ("4", "2", "<think>", "x")] == ["4", "2", "<think>", "x"]


def test_a_text_after_reasoning_is_not_held_back() -> None:
    pieces = ["<th", "ink>", "hmm", "</thi", "nk>", "\n", "4", "2"]
    stream = TextStream()
    assert [stream.add(piece) for piece in pieces] == [*[""] * 6, "4", "2"]


@pytest.mark.parametrize("text", ["hmm\n</think>\n\n42", "hmm\n</thought> \n42"])
def test_a_lone_closing_tag_is_the_end_of_reasoning_unless_the_text_is_streamed(text: str) -> None:
    assert without_reasoning(text) == "42"
    assert streamed([*text]) == text


@given(
    st.lists(
        st.sampled_from(
            [
                "<think>",
                "</think>",
                "<thinking>",
                "</thinking>",
                "[THINK]",
                "[/THINK]",
                " ",
                "\n",
                "a",
                "<",
            ]
        )
    )
)
def test_the_division_into_pieces_does_not_matter(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert streamed(pieces) == streamed([text]) == streamed([*text])
    assert streamed([text]) in {text, without_reasoning(text)}
