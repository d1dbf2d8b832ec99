"""Checkpoint folders, as transformers loads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer

from tests.families.catalogue import CHECKPOINTS
from tests.families.folders import checkpoint_folder, provenance
from tests.families.packages import missing

pytestmark = pytest.mark.skipif(bool(missing()), reason="no tokenizers: scripts/setup-families.sh")

TEXT = "Grüße, 12345 你好 🎉 def f(x):\n    return x  # fine"


def test_folder_has_the_models_configuration_tokenizer_and_template(tmp_path: Path) -> None:
    folder = checkpoint_folder(CHECKPOINTS["granite-3.3"], tmp_path / "granite")
    assert AutoConfig.from_pretrained(folder).model_type == "granite"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
    assert len(tokenizer.encode("<think>")) > 1
    assert len(tokenizer.encode("<|start_of_role|>")) == 1
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "QQQ"}], tokenize=False, add_generation_prompt=True
    )
    assert str(prompt).endswith("QQQ<|end_of_text|>\n<|start_of_role|>assistant<|end_of_role|>")


def test_published_end_tokens_and_sampling_are_in_generation_config(tmp_path: Path) -> None:
    folder = checkpoint_folder(CHECKPOINTS["deepseek-r1-distill-qwen"], tmp_path / "r1")
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [151643]
    assert (generation["temperature"], generation["top_p"]) == (0.6, 0.95)
    tokens = json.loads((folder / "tokenizer.json").read_text())["added_tokens"]
    names = {token["id"]: token["content"] for token in tokens}
    assert (names[151643], names[151648]) == ("<｜end▁of▁sentence｜>", "<think>")


def test_runnable_folder_of_an_architecture_that_does_not_run_is_a_qwen3(tmp_path: Path) -> None:
    folder = checkpoint_folder(CHECKPOINTS["deepseek-v4"], tmp_path / "deepseek", runnable=True)
    assert AutoConfig.from_pretrained(folder).model_type == "qwen3"
    assert (folder / "model.safetensors").is_file()


def test_provenance_says_what_is_borrowed_and_written() -> None:
    assert provenance(CHECKPOINTS["qwen3"]) == {
        "vocabulary": "real",
        "template": "real",
        "architecture": "Qwen3ForCausalLM",
        "runs": True,
    }
    assert provenance(CHECKPOINTS["phi-4-reasoning"])["template"] == "written for the test"
    assert provenance(CHECKPOINTS["glm-4.6"])["vocabulary"] == "borrowed"
    assert len(CHECKPOINTS) >= 50
