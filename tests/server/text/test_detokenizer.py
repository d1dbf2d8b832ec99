"""Text that is streamed token by token, against the text decoded at once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from anytime_server.text.tokenizer import ModelTokenizer
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from .conftest import BYTES


def chunked(ids: Sequence[int], sizes: Sequence[int]) -> list[Sequence[int]]:
    """`ids` in pieces of the given sizes, which repeat."""
    pieces, start = [], 0
    while start < len(ids):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(ids[start : start + size])
        start += size
    return pieces


def stream(tokenizer: ModelTokenizer, ids: Sequence[int], sizes: Sequence[int]) -> str:
    text_stream = tokenizer.detokenizer()
    return "".join(text_stream.push(piece) for piece in chunked(ids, sizes)) + text_stream.flush()


any_text = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
# Characters of one to four bytes, the replacement character among them, close together.
dense_text = st.text(alphabet="a b€😀é\ufffd한\n\u200d", max_size=12)
chunk_sizes = st.lists(st.integers(1, 7), min_size=1, max_size=4)


@given(text=any_text | dense_text, sizes=chunk_sizes)
@example(text="abcde€", sizes=[7])
@example(text="abcde€", sizes=[6, 1])
@example(text="\ufffd€", sizes=[1])
@example(text="\ufffd\ufffd\ufffd", sizes=[1])
def test_text_is_streamed_unchanged_in_any_pieces(
    tokenizer: ModelTokenizer, text: str, sizes: list[int]
) -> None:
    assert stream(tokenizer, tokenizer.encode(text), sizes) == text


@given(text=dense_text)
def test_character_is_shown_with_its_last_token(tokenizer: ModelTokenizer, text: str) -> None:
    """Nothing complete is held back, and nothing incomplete is shown."""
    ids = tokenizer.encode(text.replace("\ufffd", ""))
    text_stream, shown = tokenizer.detokenizer(), ""
    for end, token_id in enumerate(ids, start=1):
        shown += text_stream.push([token_id])
        so_far = tokenizer.decode(ids[:end])
        assert shown == so_far or so_far.endswith("\ufffd")
        assert "\ufffd" not in shown


@given(
    # Bytes in any order, most of them not valid UTF-8; U+D7E7 and 😀 may occur.
    ids=st.lists(st.integers(0, BYTES + 3) | st.sampled_from([256, 257, 258, 64, 65]), max_size=12),
    sizes=chunk_sizes,
)
def test_invalid_bytes_do_not_affect_other_characters(
    tokenizer: ModelTokenizer, ids: list[int], sizes: list[int]
) -> None:
    assert stream(tokenizer, ids, sizes) == tokenizer.decode(ids)


@given(ids=st.lists(st.integers(0, 2000), max_size=20), sizes=chunk_sizes)
def test_any_ids_can_be_streamed(tokenizer: ModelTokenizer, ids: list[int], sizes: list[int]) -> None:
    """Models also sample special tokens, and ids that are not in the vocabulary."""
    valid = tokenizer.encode("ok€")
    assert stream(tokenizer, ids + valid, sizes).endswith("ok€")


@pytest.fixture(scope="module")
def byte_fallback() -> ModelTokenizer:
    """A tokenizer like SentencePiece's: words, and bytes for all other text."""
    entries = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a", "é"]
    backend = Tokenizer(
        models.BPE(
            vocab={entry: i for i, entry in enumerate(entries)},
            merges=[("▁", "a")],
            byte_fallback=True,
            unk_token="<unk>",
        )
    )
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    return ModelTokenizer(tokenizer, eos_ids=frozenset())


@given(text=dense_text.filter(lambda text: "\ufffd" not in text), sizes=chunk_sizes)
@example(text="a😀😀", sizes=[1])
@example(text="a한국어 a", sizes=[1])
@example(text="é😀 a€", sizes=[2, 1])
def test_text_is_streamed_unchanged_with_byte_fallback(
    byte_fallback: ModelTokenizer, text: str, sizes: list[int]
) -> None:
    ids = byte_fallback.encode(text)
    assert stream(byte_fallback, ids, sizes) == byte_fallback.decode(ids)


def test_space_as_a_byte_does_not_affect_later_characters(byte_fallback: ModelTokenizer) -> None:
    """Such a space at the start of the text is decoded to nothing, until incomplete bytes follow it."""
    ids = [byte_fallback.encode("€")[0] - 0xE2 + byte for byte in " 😀".encode()]
    assert byte_fallback.decode(ids).strip() == "😀"
    assert stream(byte_fallback, ids, [1]).strip() == "😀"


def test_held_back_tail_is_flushed_at_the_end(tokenizer: ModelTokenizer) -> None:
    text_stream = tokenizer.detokenizer()
    assert text_stream.push(tokenizer.encode("a€")[:-1]) in ("", "a")
    assert text_stream.flush().endswith("\ufffd")
    assert text_stream.flush() == ""
