"""Tokenizers in other forms than tokenizer.json, against the libraries that read those forms."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from anytime_server.errors import UnusableModel
from anytime_server.text.model import Model
from anytime_server.text.tokenizer import ModelTokenizer
from anytime_server.text.tokenizer_files import TOKENIZER, tokenizer_folder

WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
MERGED = [b"th", b"he", b"the", b" the", "東".encode(), b"in", b"ing"]
TEXTS = ["the thing, 12 the", "東京 naïve 🎉", "\n\n  the\tthe", ""]
SPECIAL = [
    *("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CALLS]", "<pad>", "[PREFIX]", "[MIDDLE]", "[SUFFIX]"),
    *("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]", "[ARGS]", "[CALL_ID]", "[THINK]", "[/THINK]"),
]
CODE = """
import json
import os
from pathlib import Path

import tiktoken
from transformers import PreTrainedTokenizer


class OwnTokenizer(PreTrainedTokenizer):
    vocab_files_names = {"vocab_file": "own.json"}

    def __init__(self, vocab_file, **kwargs):
        with open(os.environ["RUNS"], "a") as runs:
            runs.write("x")
        ranks = {bytes.fromhex(token): rank for token, rank in json.loads(Path(vocab_file).read_text())}
        added = {str(token): int(i) for i, token in kwargs["added_tokens_decoder"].items()}
        self.encoding = ENCODING
        super().__init__(**kwargs)

    @property
    def vocab_size(self):
        return 300

    def get_vocab(self):
        return {}

    def _tokenize(self, text):
        return []
"""
TIKTOKEN = f"tiktoken.Encoding('own', pat_str={WORDS!r}, mergeable_ranks=ranks, special_tokens=added)"
ADDED = {
    "270": ("<|end|>", True), "271": ("<think>", False), "272": ("</think>", False),
    "280": ("<|user|>", True), "281": ("<|assistant|>", True),
}  # fmt: skip
TEMPLATE = (
    "{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>{% endif %}"
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    return tmp_path / "cache" / "anytime" / "tokenizers"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text(json.dumps({"model_type": "qwen3", "eos_token_id": 270}))
    return made


def ranks() -> dict[bytes, int]:
    return {token: rank for rank, token in enumerate([bytes([byte]) for byte in range(256)] + MERGED)}


def write_tekken(folder: Path) -> None:
    tokens = [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for token, rank in ranks().items()
    ]
    special = [{"rank": rank, "token_str": text, "is_control": True} for rank, text in enumerate(SPECIAL)]
    config = {
        "pattern": WORDS,
        "num_vocab_tokens": len(tokens),
        "default_vocab_size": len(tokens) + len(special),
        "default_num_special_tokens": len(special),
        "version": "v13",
    }
    (folder / "tekken.json").write_text(
        json.dumps({"config": config, "vocab": tokens, "special_tokens": special})
    )


def write_own_code(folder: Path, encoding: str = TIKTOKEN) -> None:
    (folder / "tokenization_own.py").write_text(CODE.replace("ENCODING", encoding))
    (folder / "own.json").write_text(json.dumps([[token.hex(), rank] for token, rank in ranks().items()]))
    settings: dict[str, Any] = {
        "auto_map": {"AutoTokenizer": ["tokenization_own.OwnTokenizer", None]},
        "tokenizer_class": "OwnTokenizer",
        "eos_token": "<|end|>",
        "chat_template": TEMPLATE,
        "added_tokens_decoder": {
            i: {"content": text, "special": is_special, "normalized": False}
            for i, (text, is_special) in ADDED.items()
        },
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def test_tekken_gives_the_ids_of_mistrals_library(folder: Path) -> None:
    from mistral_common.tokens.tokenizers.tekken import Tekkenizer

    write_tekken(folder)
    tokenizer, theirs = ModelTokenizer.load(folder), Tekkenizer.from_file(str(folder / "tekken.json"))
    for text in TEXTS:
        assert tokenizer.encode(text) == theirs.encode(text, bos=False, eos=False)
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.token_id("[/THINK]") == SPECIAL.index("[/THINK]")
    assert tokenizer.eos_ids == {SPECIAL.index("</s>")}


def test_tekken_alone_is_served_with_mistrals_own_template(folder: Path) -> None:
    write_tekken(folder)
    model = Model.load(folder)
    assert model.family.name == "magistral"
    prompt = model.prompt([{"role": "user", "content": "the"}])
    assert model.tokenizer.decode(prompt.ids, keeps_special=True) == "<s>[INST]the[/INST][THINK]"


def test_tokenizer_json_beside_tekken_is_used(folder: Path, tiny_checkpoint: Path) -> None:
    write_tekken(folder)
    for name in (TOKENIZER, "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).write_bytes((tiny_checkpoint / name).read_bytes())
    files = tokenizer_folder(folder)
    assert files != folder
    assert not (files / "tekken.json").exists()
    assert ModelTokenizer.load(folder).encode("the") == ModelTokenizer.load(tiny_checkpoint).encode("the")


def test_tokenizer_that_transformers_reads_stays_where_it_is(tiny_checkpoint: Path, cache: Path) -> None:
    assert tokenizer_folder(tiny_checkpoint, trust_remote_code=True) == tiny_checkpoint
    assert not cache.exists()


def test_code_of_a_tokenizer_runs_only_if_allowed(folder: Path, tmp_path: Path) -> None:
    write_own_code(folder)
    with pytest.raises(UnusableModel, match=r"code of its own .*--vllm\.trust-remote-code") as raised:
        Model.load(folder)
    assert raised.value.field == "trust_remote_code"
    assert not (tmp_path / "runs").exists()


def test_tiktoken_encoding_in_code_is_converted_once(folder: Path, tmp_path: Path) -> None:
    import tiktoken

    write_own_code(folder)
    model = Model.load(folder, trust_remote_code=True)
    tokenizer = model.tokenizer
    added = {text: int(i) for i, (text, _) in ADDED.items()}
    theirs = tiktoken.Encoding("own", pat_str=WORDS, mergeable_ranks=ranks(), special_tokens=added)
    for text in (*TEXTS, "<think>the</think> the<|end|>"):
        assert tokenizer.encode(text) == theirs.encode(text, allowed_special="all")
    assert tokenizer.decode([271, 280, 116]) == "<think>t"  # only `<|user|>` is special
    assert tokenizer.eos_ids == {270}
    assert model.family.name == "think-tags"
    num_runs = len((tmp_path / "runs").read_text())
    assert Model.load(folder, trust_remote_code=True).tokenizer.files == tokenizer.files
    assert len((tmp_path / "runs").read_text()) == num_runs


def test_json_is_spelled_with_the_converted_tokenizer(folder: Path) -> None:
    from anytime_server.engine.structured.vocabulary import Vocabulary

    write_own_code(folder)
    vocabulary = Vocabulary(tokenizer_folder(folder, trust_remote_code=True), 282)
    assert vocabulary.can_spell_json
    assert vocabulary.eos_id == 270


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("None", "OwnTokenizer, is neither fast nor based on tiktoken"),
        ("1 / 0", "cannot be converted: division by zero"),
        (
            "tiktoken.Encoding('own', pat_str='.', mergeable_ranks=ranks, special_tokens={})",
            "OwnTokenizer, cannot be converted exactly",
        ),
    ],
)
def test_code_that_cannot_be_converted_is_refused(folder: Path, encoding: str, message: str) -> None:
    write_own_code(folder, encoding)
    with pytest.raises(UnusableModel, match=message):
        Model.load(folder, trust_remote_code=True)


def test_cache_that_cannot_be_written_is_done_without(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    write_tekken(folder)
    assert ModelTokenizer.load(folder).token_id("[THINK]") == SPECIAL.index("[THINK]")
