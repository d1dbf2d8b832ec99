"""Verdicts on schemas, without the process around the compiler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anytime_server.engine.constraint import Constraint
from anytime_server.engine.structured.grammar import grammar_of, with_calls
from anytime_server.engine.structured.process import compiled
from anytime_server.engine.structured.vocabulary import Vocabulary
from anytime_server.text.model import BUNDLED_MODEL


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(BUNDLED_MODEL, 512)


def refusal(vocabulary: Vocabulary, schema: dict[str, Any]) -> str | None:
    return compiled(vocabulary, Constraint("json_schema", json.dumps(schema))).get("refusal")


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "string", "maxLength": 9_999},
        {"type": "string", "pattern": r"^(?:red|green|blue|cyan)+ [0-9a-f]{1,40}$"},
        {"type": "string", "pattern": r"^(\w{9}\d){7}$"},
        {"type": "object", "properties": {f"p{i}": True for i in range(300)}},
        {"anyOf": [{"type": "string", "maxLength": length} for length in range(2, 12)]},
    ],
)
def test_schema_that_compiles_is_accepted(vocabulary: Vocabulary, schema: dict[str, Any]) -> None:
    assert refusal(vocabulary, schema) is None


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "text"}, "cannot be enforced: Invalid type: text"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "cannot be enforced: #/allOf/0: Unsatisfiable"),
        ({"$ref": "http://localhost/schema.json"}, "cannot be enforced: Resource 'http://localhost"),
        (
            {"$dynamicRef": "http://localhost/schema.json"},
            "cannot be enforced: http://localhost/schema.",
        ),
        ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "cannot be enforced: # has no instance"),
        # vLLM converts schemas on the server's event loop.
        (
            {"type": "array", "maxItems": 150_000, "items": {}},
            "takes too long to compile: it repeats too much",
        ),
    ],
)
def test_refusal_says_why(vocabulary: Vocabulary, schema: dict[str, Any], reason: str) -> None:
    assert (refusal(vocabulary, schema) or "").startswith(f"the JSON schema {reason}")


def test_vocabulary_that_lacks_a_character_cannot_spell_json(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    ids = {chr(byte): byte - 0x20 for byte in range(0x21, 0x7F)} | {"\u0120": 0, "<end>": 95}
    for missing in (None, "{"):
        known = {text if text != missing else "{{": i for text, i in ids.items()}
        backend = Tokenizer(models.BPE(vocab=known, merges=[]))
        backend.decoder = decoders.ByteLevel()
        PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>").save_pretrained(tmp_path)
        assert Vocabulary(tmp_path, 96).can_spell_json is (missing is None)


@pytest.mark.parametrize(
    ("constraint", "accepted", "refused"),
    [
        (Constraint("regex", "^[a-c]+/[0-9]$"), "abc/7", "abc7"),
        (Constraint("choice", '["yes","no, \\"never\\""]'), 'no, "never"', "no"),
        (Constraint("grammar", 'root ::= "no" | "yes" [0-9]+'), "yes12", "yes"),
        (Constraint("grammar", 'start: "no" | "yes" /[0-9]+/'), "yes12", "yes"),
    ],
    ids=["regex", "choice", "GBNF", "Lark"],
)
def test_other_constraints_are_enforced(
    vocabulary: Vocabulary, constraint: Constraint, accepted: str, refused: str
) -> None:
    assert compiled(vocabulary, constraint) == {"text": constraint.text}
    assert spells(vocabulary, constraint, accepted)
    assert not spells(vocabulary, constraint, refused)


@pytest.mark.parametrize(
    ("constraint", "refusal"),
    [
        (Constraint("regex", "(?=a)b"), "the regular expression cannot be enforced: "),
        (Constraint("grammar", "root ::= other"), "the grammar cannot be enforced: "),
        (Constraint("grammar", "start: <[*]>"), "the grammar cannot be enforced: it allows every token"),
    ],
)
def test_other_constraint_with_a_fault_is_refused(
    vocabulary: Vocabulary, constraint: Constraint, refusal: str
) -> None:
    assert compiled(vocabulary, constraint).get("refusal", "").startswith(refusal)


@pytest.mark.parametrize(
    "constraint",
    [
        Constraint("json_schema", '{"enum":[1],"x-guidance":{"whitespace_flexible":false}}'),
        Constraint("regex", "^1$"),
        Constraint("choice", '["1"]'),
    ],
    ids=["json_schema", "regex", "choice"],
)
def test_call_may_take_the_place_of_what_an_answer_must_be(
    vocabulary: Vocabulary, constraint: Constraint
) -> None:
    either = with_calls(constraint, start="<tool_call>", start_id=None, excluded_id=0)
    assert compiled(vocabulary, either) == {"text": either.text}
    for text in ("1", '<tool_call>{"name": "f"}</tool_call>', "\n\n<tool_call>"):
        assert spells(vocabulary, either, text), text
    for text in ("2", "\n1", "x<tool_call>", "<tool"):
        assert not spells(vocabulary, either, text), text


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("a/b", "a/b"),
        (r"a\/b", "a/b"),
        (r"a\\/b", "a\\/b"),
        ("a\nb", "a\nb"),
        (r'q\/ | "z" #', "q/ "),
    ],
)
def test_slashes_and_line_breaks_stay_within_an_expression(
    vocabulary: Vocabulary, pattern: str, text: str
) -> None:
    either = with_calls(Constraint("regex", pattern), start="<tool_call>", start_id=None, excluded_id=0)
    assert spells(vocabulary, either, text)
    assert not spells(vocabulary, either, "z")


def test_some_token_is_never_allowed(vocabulary: Vocabulary) -> None:
    """Or a mask of vLLM's would be applied beyond the logits."""
    from llguidance import LLMatcher
    from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

    either = with_calls(Constraint("choice", '["1"]'), start="<tool_call>", start_id=None, excluded_id=7)
    matcher = LLMatcher(vocabulary.tokenizer, grammar_of(either), log_level=0)
    assert matcher.consume_tokens(vocabulary.tokenizer.tokenize_str("<tool_call>a"))
    bits = allocate_token_bitmask(1, vocabulary.tokenizer.vocab_size)
    fill_next_token_bitmask(matcher, bits)
    allowed = np.unpackbits(bits.view(np.uint8)[0], bitorder="little", count=vocabulary.tokenizer.vocab_size)
    assert np.flatnonzero(allowed == 0).tolist() == [7]


def spells(vocabulary: Vocabulary, constraint: Constraint, text: str) -> bool:
    """Whether tokens held to a constraint can be this text."""
    from llguidance import LLMatcher

    ids = vocabulary.tokenizer.tokenize_str(text)
    matcher = LLMatcher(vocabulary.tokenizer, grammar_of(constraint), log_level=0)
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()
