"""Where a sentence ends, and the first of several tokens after which one does."""

from __future__ import annotations

import pytest
from anytime_server.reasoning import first_sentence_end
from anytime_server.reasoning.sentence import ends_sentence


@pytest.mark.parametrize(
    "text",
    [
        *("So it is four.", "Is it?", "No!", "Wait…", "所以是四。", "对吗？"),
        *('"Done."', "(see above.)", "**Done.**", "`x = 1`.", "Done. ", "It is 42. "),
        *("a line\n", "a line\n\n", "a line\n  "),
    ],
)
def test_sentences_and_lines_end(text: str) -> None:
    assert ends_sentence(text)


@pytest.mark.parametrize("text", ["", "So it", "3.", "3.1", "x, ", "first:", "a; ", "Done. So", "\nSo"])
def test_sentences_go_on(text: str) -> None:
    assert not ends_sentence(text)


def decode(ids: list[int]) -> str:
    return "".join(map(chr, ids))


@pytest.mark.parametrize(
    ("before", "new", "at_least", "found"),
    [
        ("ab", "c.d.", 0, 2),
        ("ab", "c.d.", 4, 2),  # the fourth of both together
        ("ab", "c.d.", 5, 4),
        ("ab", "c.d.", 7, None),
        ("ab", "cd", 0, None),
        ("ab.", "cd", 0, None),  # what was there before is no new token
        ("12", ".5", 0, None),
        ("a" * 100, ".", 0, 1),
    ],
)
def test_first_new_token_after_which_a_sentence_ends(
    before: str, new: str, at_least: int, found: int | None
) -> None:
    ids = [list(map(ord, text)) for text in (before, new)]
    assert first_sentence_end(*ids, at_least=at_least, decode=decode) == found  # pyright: ignore[reportArgumentType]
