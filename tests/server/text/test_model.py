"""Prompts, precedence of manifest and presets, and checkpoints that cannot be served."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anytime_server.errors import InvalidRequest, UnusableModel
from anytime_server.reasoning import FAMILIES, Forcing, Manifest
from anytime_server.text.model import Model
from anytime_server.text.tokenizer import ModelTokenizer

from .conftest import RENDERED, SPECIAL, TEMPLATE, USER, write_checkpoint


def test_decoding_drops_special_tokens_and_keeps_thinking_tokens(tokenizer: ModelTokenizer) -> None:
    ids = tokenizer.encode("a<|im_end|></think>b")
    assert len(ids) == 4
    assert tokenizer.decode(ids) == "a</think>b"


def test_encoding_adds_no_special_tokens(tokenizer: ModelTokenizer) -> None:
    assert tokenizer.encode("") == []
    assert tokenizer.token_id("<think>") == tokenizer.encode("<think>")[0]
    assert tokenizer.token_id("<thinking>") is None


def test_truncation_and_padding_of_the_checkpoint_are_ignored(copy: Path) -> None:
    """`tokenizer.json` can contain settings from fine-tuning."""
    path = copy / "tokenizer.json"
    content = json.loads(path.read_text())
    content["truncation"] = {"max_length": 3, "direction": "Right", "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {
        "strategy": {"Fixed": 9},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "!",
    }
    path.write_text(json.dumps(content))
    assert len(ModelTokenizer.load(copy).encode("abcde")) == len("abcde") - 1  # `ab` is one token


def test_every_declared_end_of_turn_is_known(copy: Path) -> None:
    """The tokenizer declares one token, the generation settings another."""
    ids = {entry: ModelTokenizer.load(copy).token_id(entry) for entry in SPECIAL}
    assert ModelTokenizer.load(copy).eos_ids == {ids["<|im_end|>"], ids["<|endoftext|>"]}
    (copy / "generation_config.json").write_text(json.dumps({"eos_token_id": ids["<|endoftext|>"]}))
    assert ModelTokenizer.load(copy).eos_ids == {ids["<|im_end|>"], ids["<|endoftext|>"]}
    (copy / "generation_config.json").write_text(json.dumps({"temperature": 0.6}))
    assert ModelTokenizer.load(copy).eos_ids == {ids["<|im_end|>"]}
    (copy / "generation_config.json").unlink()
    assert ModelTokenizer.load(copy).eos_ids == {ids["<|im_end|>"]}


def test_conversation_is_rendered_by_the_chat_template(tokenizer: ModelTokenizer) -> None:
    assert tokenizer.chat.render(USER) == RENDERED


def test_messages_that_the_template_refuses_are_an_invalid_request(tokenizer: ModelTokenizer) -> None:
    with pytest.raises(InvalidRequest, match="refuses these messages: no tools here") as refused:
        tokenizer.chat.render([{"role": "tool", "content": "4"}])
    assert refused.value.field == "messages"


def test_thinking_is_opened_once(checkpoint: Path, tmp_path: Path) -> None:
    opening = Model.load(checkpoint)
    assert opening.prompt_ids(USER) == opening.tokenizer.encode(RENDERED)
    template = TEMPLATE.replace("<think>\n", "")
    not_opening = Model.load(write_checkpoint(tmp_path, template=template), preset="qwen3-thinking")
    assert not_opening.prompt_ids(USER) == not_opening.tokenizer.encode(RENDERED.removesuffix("\n"))


def test_known_family_needs_no_manifest(checkpoint: Path) -> None:
    model = Model.load(checkpoint)
    assert (model.family.name, model.manifest.forcing) == ("qwen3-thinking", Forcing.AUTO)
    assert model.manifest.texts == model.family.texts
    assert model.reasoning.think_end_id == model.tokenizer.token_id("</think>")
    assert model.name == "small"


def test_manifest_overrides_the_family(copy: Path) -> None:
    texts: dict[str, Any] = {"think_start": "<think>", "think_end": "</think>"}
    Manifest(**texts, truncation="…", answer_lead_in="", name="own", answer_tokens=7).save(copy)
    model = Model.load(copy)
    assert model.name == "own"
    assert model.manifest.answer_tokens == 7
    assert model.reasoning.truncation_ids == tuple(model.tokenizer.encode("…"))
    assert model.reasoning.answer_lead_in_ids == ()


def test_manifest_of_the_familys_markers_keeps_the_family_without_its_advice(copy: Path) -> None:
    assert Model.load(copy).note
    texts: dict[str, Any] = {"think_start": "<think>", "think_end": "</think>"}
    Manifest(**texts, truncation="…", answer_lead_in="").save(copy)
    model = Model.load(copy)
    assert (model.family.name, model.note, model.manifest.forcing) == ("qwen3-thinking", "", Forcing.AUTO)


def test_manifest_of_other_markers_makes_a_family_of_its_own(copy: Path) -> None:
    texts: dict[str, Any] = {"think_start": "<|im_start|>", "think_end": "</think>"}
    Manifest(**texts, truncation="…", answer_lead_in="").save(copy)
    model = Model.load(copy)
    assert (model.family.name, model.reasoning.thinks, model.note) == ("own-manifest", True, "")


def test_named_preset_overrides_the_texts_of_manifest_and_family(copy: Path) -> None:
    texts: dict[str, Any] = {"think_start": "<think>", "think_end": "</think>"}
    Manifest(**texts, truncation="…", answer_lead_in="", name="own", answer_tokens=7).save(copy)
    model = Model.load(copy, preset="deepseek-r1")
    assert model.manifest.texts == FAMILIES["deepseek-r1"].texts
    assert (model.name, model.manifest.answer_tokens) == ("own", 7)


def test_given_name_overrides_all_others(checkpoint: Path) -> None:
    assert Model.load(checkpoint, name="mine").name == "mine"


def test_checkpoint_in_the_current_folder_has_the_name_of_the_folder(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint)
    assert Model.load(Path()).name == "small"


def without_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def without_tokenizer(folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).unlink()


def with_broken_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")


def with_contents(name: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).write_text(text)

    return write


def without_template(folder: Path) -> None:
    write_checkpoint(folder, template="")
    (folder / "chat_template.jinja").unlink()


def with_broken_generation_config(folder: Path) -> None:
    (folder / "generation_config.json").write_text("{")


def with_broken_manifest(folder: Path) -> None:
    (folder / "anytime.json").write_text("{}")


@pytest.mark.parametrize(
    ("break_checkpoint", "error"),
    [
        (without_config, "no config.json"),
        # Without its files, transformers falls back on an empty tokenizer.
        (without_tokenizer, "tokenizer"),
        (with_broken_tokenizer, "tokenizer.json cannot be read"),
        *(
            (with_contents(name, "[]"), f"/{name} cannot be read: it is not a JSON object")
            for name in ("config.json", "tokenizer_config.json", "tokenizer.json", "generation_config.json")
        ),
        *(
            (with_contents("tokenizer.json", text), "no tokenizer can be loaded from .*/tokenizer.json: ")
            for text in ("{}", '{"model": 5}', '{"model": {"type": "BPE", "vocab": []}}')
        ),
        (without_template, "no chat template"),
        (with_broken_generation_config, "generation_config.json"),
        (with_broken_manifest, "anytime.json: think_start: Field required"),
    ],
)
def test_unusable_checkpoint_is_refused_with_a_reason(
    copy: Path, break_checkpoint: Callable[[Path], None], error: str
) -> None:
    break_checkpoint(copy)
    with pytest.raises(UnusableModel, match=error) as refused:
        Model.load(copy)
    assert re.search(re.escape(str(copy)), str(refused.value)), "the error does not name the checkpoint"


def test_preset_that_does_not_fit_the_vocabulary_is_refused(checkpoint: Path) -> None:
    with pytest.raises(UnusableModel, match=r"--reasoning-preset magistral: .* has no '\[THINK\]'"):
        Model.load(checkpoint, preset="magistral")


def test_markers_that_the_model_writes_as_plain_text_are_served_with_a_warning(copy: Path) -> None:
    texts: dict[str, Any] = {"think_start": "<reason>", "think_end": "</reason>"}
    Manifest(**texts, truncation="", answer_lead_in="").save(copy)
    model = Model.load(copy)
    assert (model.family.name, model.reasoning.think_end_text is not None) == ("own-manifest", True)
    assert "looked for in its text" in model.note


def test_manifest_that_contradicts_the_tokenizer_is_refused(copy: Path) -> None:
    texts: dict[str, Any] = {"think_start": "<think>", "think_end": "</thinking>"}
    Manifest(**texts, truncation="", answer_lead_in="").save(copy)
    with pytest.raises(
        UnusableModel, match=r"think_end '</thinking>' is neither a token.*--reasoning-preset"
    ):
        Model.load(copy)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"think_start": "i"}, "think_start 'i' is an ordinary word"),
        ({"think_end": "user"}, "think_end 'user' is an ordinary word"),
        ({"think_end": "<|im_end|>"}, r"think_end '<\|im_end\|>' contains a token that ends the turn"),
        ({"think_end": "assistant\n<think>"}, "think_end .* contains the other marker '<think>'"),
    ],
)
def test_markers_that_contradict_themselves_are_refused(
    copy: Path, texts: dict[str, str], message: str
) -> None:
    """All of them are in the vocabulary or the chat template."""
    template = TEMPLATE + "{# assistant\n<think> user #}"
    usual = {"think_start": "<think>", "think_end": "</think>", "truncation": "", "answer_lead_in": ""}
    Manifest.model_validate(usual | texts).save(copy)
    with pytest.raises(UnusableModel, match=message) as refused:
        Model.load(copy, chat_template=template)
    assert refused.value.field == next(iter(texts))


def test_manifest_of_another_file_overrides_the_own_one(copy: Path, tmp_path: Path) -> None:
    texts: dict[str, Any] = {"think_start": "<think>", "think_end": "</think>"}
    Manifest(**texts, truncation="", answer_lead_in="", name="own").save(copy)
    other = tmp_path / "other.json"
    Manifest(**texts, truncation="…", answer_lead_in="A: ", name="other").save(tmp_path)
    (tmp_path / "anytime.json").rename(other)
    assert Model.load(copy, manifest=other).manifest.name == "other"
    with pytest.raises(UnusableModel, match=r"missing\.json cannot be read: No such file"):
        Model.load(copy, manifest=tmp_path / "missing.json")


def test_given_chat_template_takes_the_place_of_the_own_one(copy: Path) -> None:
    model = Model.load(copy, chat_template="{{ messages[0].content }}:<think>")
    assert model.tokenizer.chat.render(USER) == "7 - 3:<think>"
