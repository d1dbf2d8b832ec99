"""Write tokenizer.json for vocabularies that packages ship in other formats: GGUF and tiktoken."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

QWEN_3_5_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}"
    r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
GGUF_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
GGUF_STRING, GGUF_ARRAY = 8, 9
GGUF_CONTROL_TOKEN = 3


def starcoder(gguf: Path, target: Path) -> None:
    """Convert StarCoder's vocabulary, which Granite 3 uses with other special tokens."""
    metadata = gguf_metadata(gguf)
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    merges = [(merge.split(" ")[0], merge.split(" ")[1]) for merge in metadata["tokenizer.ggml.merges"]]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    words = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    kinds = metadata["tokenizer.ggml.token_type"]
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == GGUF_CONTROL_TOKEN]
    save(models.BPE(vocabulary, merges), pre_tokenizers.Sequence(words), special, target)


def qwen_3_5(tiktoken: Path, target: Path) -> None:
    """Convert the vocabulary of Qwen3.5 and 3.6; the models' special tokens are added later."""
    lines = (line.split() for line in tiktoken.read_bytes().splitlines() if line)
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    names = byte_names()

    def spell(token: bytes) -> str:
        return "".join(names[byte] for byte in token)

    named = {spell(token): rank for token, rank in ranks.items()}
    splits = (last_merge(token, ranks) for token in sorted(ranks, key=ranks.__getitem__) if len(token) > 1)
    merges = [(spell(split[0]), spell(split[1])) for split in splits if split]
    words = [
        pre_tokenizers.Split(Regex(QWEN_3_5_WORDS), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ]
    save(models.BPE(named, merges), pre_tokenizers.Sequence(words), [], target)


def save(model: models.BPE, words: Any, special: list[str], target: Path) -> None:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = words
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    target.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(target), pretty=False)


def last_merge(token: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """The two tokens that a byte-pair encoding joins to make this one; nothing if it never makes this one."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        pairs = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
        first = pairs.index(min(pairs))
        if pairs[first] == len(ranks):
            return []
        parts[first : first + 2] = [parts[first] + parts[first + 1]]
    return parts


def byte_names() -> dict[int, str]:
    """The printable character that stands for each byte in a byte-level vocabulary."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(256 + position) for position, byte in enumerate(others)
    }


def gguf_metadata(path: Path) -> dict[str, Any]:
    """The key-value pairs at the head of a GGUF file."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"{path.name} is not a GGUF file")
        number(file, "I")  # the version of the format
        number(file, "Q")  # the number of tensors
        return {text(file): value(file, number(file, "I")) for _ in range(number(file, "Q"))}


def value(file: IO[bytes], kind: int) -> Any:
    if kind == GGUF_STRING:
        return text(file)
    if kind == GGUF_ARRAY:
        of = number(file, "I")
        return [value(file, of) for _ in range(number(file, "Q"))]
    return number(file, GGUF_NUMBERS[kind])


def text(file: IO[bytes]) -> str:
    return file.read(number(file, "Q")).decode()


def number(file: IO[bytes], form: str) -> Any:
    return struct.unpack(f"<{form}", file.read(struct.calcsize(f"<{form}")))[0]
