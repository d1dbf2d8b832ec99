"""Grammars over a vocabulary: whatever they allow is an instance of the schema."""

from __future__ import annotations

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest
from anytime_server.engine.structured import grammar
from anytime_server.engine.structured.grammar import Grammars
from anytime_server.errors import InvalidRequest, NotSupported
from anytime_server.text.model import BUNDLED_MODEL, Model

if TYPE_CHECKING:
    from xgrammar import CompiledGrammar

NUM_IDS = 512


@pytest.fixture(scope="module")
def grammars() -> Grammars:
    return Grammars(BUNDLED_MODEL, NUM_IDS)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "minLength": 2, "maxLength": 5},
        {"type": "string", "pattern": r"^[^x]\d{2}(?:a|b)+.$"},
        {
            "type": "object",
            "properties": {"é\n": {"const": [{"a": 1.5}]}, "b": {"type": "boolean"}},
            "required": ["b"],
        },
        {"type": "array", "prefixItems": [{"type": "null"}], "items": {"enum": ["a", 2]}, "maxItems": 4},
        {"type": "object", "additionalProperties": {"type": "integer", "minimum": -3}, "maxProperties": 2},
        {"type": ["string", "null"], "minLength": 3},
        {"anyOf": [{"type": "array", "items": {"$ref": "#"}, "maxItems": 1}, {"type": "null"}]},
    ],
)
def test_what_is_allowed_is_an_instance(grammars: Grammars, schema: dict[str, Any]) -> None:
    model, rng = Model.load(BUNDLED_MODEL), random.Random(0)
    [stop_id] = model.reasoning.eos_ids
    special_ids = {model.reasoning.think_start_id, model.reasoning.think_end_id}
    text = json.dumps(schema)
    grammars.check(text)
    for _ in range(20):
        matcher, ids = grammars.matcher(grammars.compiled(text), frozenset({stop_id})), [-1]
        while ids[-1] != stop_id:
            allowed = np.flatnonzero(matcher.allowed()).tolist()
            assert not special_ids & set(allowed)
            ids.append(stop_id if stop_id in allowed and rng.random() < 0.2 else rng.choice(allowed))
            assert matcher.accept(ids[-1])
        jsonschema.validate(json.loads(model.tokenizer.decode(ids[1:-1])), schema)


def test_what_is_not_allowed_is_not_accepted(grammars: Grammars) -> None:
    matcher = grammars.matcher(grammars.compiled('{"enum":[7]}'), frozenset({4}))
    [seven, eight] = Model.load(BUNDLED_MODEL).tokenizer.encode("78")
    assert not matcher.accept(eight)
    assert matcher.accept(seven)


def vocabulary_of(characters: str, folder: Path) -> Grammars:
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {character: place for place, character in enumerate(characters)}
    backend = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token=characters[0]))
    backend.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(folder)
    return Grammars(folder, len(characters))


def test_a_vocabulary_that_cannot_spell_json_is_told_of(tmp_path: Path) -> None:
    printable = "".join(map(chr, range(0x20, 0x7F)))
    with pytest.raises(NotSupported, match="cannot spell every JSON"):
        vocabulary_of(printable.replace("{", ""), tmp_path / "no-brace").check("{}")
    plain = vocabulary_of(printable, tmp_path / "plain")
    plain.check('{"const":"plain\\n"}')
    with pytest.raises(InvalidRequest, match="cannot spell what the JSON schema asks for"):
        plain.check('{"const":"\u00e9"}')


def test_what_is_kept_is_had_while_another_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    grammars = Grammars(BUNDLED_MODEL, NUM_IDS)
    old, new = '{"enum":[1]}', '{"enum":[2]}'
    assert grammars.kept(old) is None
    grammars.check(old)
    kept = grammars.compiled(old)
    begun, go_on, compile_one = threading.Event(), threading.Event(), grammar._Compiler._compile

    def compile_slowly(compiler: grammar._Compiler, schema: str) -> CompiledGrammar:
        begun.set()
        assert go_on.wait(60)
        return compile_one(compiler, schema)

    monkeypatch.setattr(grammar._Compiler, "_compile", compile_slowly)
    with ThreadPoolExecutor(2) as threads:
        compiling = threads.submit(grammars.compiled, new)
        assert begun.wait(60)
        try:
            for quick in (grammars.kept, grammars.compiled):
                assert threads.submit(quick, old).result(30) is kept
            threads.submit(grammars.check, old).result(30)
            assert grammars.kept(new) is None
        finally:
            go_on.set()
        assert compiling.result() is grammars.kept(new)


def test_the_least_lately_used_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    grammars = Grammars(BUNDLED_MODEL, NUM_IDS)
    schemas = [f'{{"enum":[{i}]}}' for i in range(3)]
    sizes = [grammar._size(schema, grammars.compiled(schema)) for schema in schemas[:2]]
    monkeypatch.setattr(grammar, "CACHE_BYTES", sum(sizes))
    assert grammars.kept(schemas[0])
    grammars.compiled(schemas[2])
    assert [grammars.kept(schema) is not None for schema in schemas] == [True, False, True]
