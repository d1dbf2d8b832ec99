"""`anytime.json`: loaded as saved, replaced atomically, refused with the name of the faulty key."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from anytime_server.errors import UnusableModel
from anytime_server.reasoning import AccuracyPoint, Manifest, ReasoningTexts
from hypothesis import given
from hypothesis import strategies as st

TEXTS: dict[str, Any] = {
    "think_start": "<think>",
    "think_end": "</think>",
    "truncation": "...",
    "answer_lead_in": "Answer: ",
}

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
shares = st.floats(0, 1)
points = st.builds(
    AccuracyPoint,
    budget=st.integers(0, 1 << 20),
    accuracy=shares,
    low=shares,
    high=shares,
    n=st.integers(1, 10**6),
)
manifests = st.builds(
    Manifest,
    think_start=texts.map("<{}".format),
    think_end=texts.map("</{}".format),
    truncation=texts,
    answer_lead_in=texts,
    name=st.none() | texts,
    answer_tokens=st.integers(1, 4096),
    efforts=st.dictionaries(st.sampled_from(["minimal", "low", "max"]), st.integers(1, 1 << 20)),
    budgets=st.lists(st.integers(1, 1 << 20), unique=True).map(sorted),
    prior=st.none() | st.sampled_from(["base", "uniform", "linear"]),
    accuracy_curve=st.lists(points, max_size=3),
    examples=st.lists(texts, max_size=3),
    trained=st.none() | st.sampled_from(["warmstart", "grpo", "brpo"]),
    recipe=st.none() | texts,
    seed=st.none() | st.integers(),
    versions=st.dictionaries(texts, texts, max_size=3),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoint")


@given(manifest=manifests)
def test_saved_manifest_is_loaded_unchanged(folder: Path, manifest: Manifest) -> None:
    manifest.save(folder)
    assert Manifest.load(folder) == manifest


def test_prior_weights_are_loaded(tmp_path: Path) -> None:
    Manifest(**TEXTS, budgets=[32, 64, 128], prior=[0.5, 0.25, 0.25]).save(tmp_path)
    loaded = Manifest.load(tmp_path)
    assert loaded is not None
    assert loaded.prior == [0.5, 0.25, 0.25]


def test_folder_without_a_manifest_loads_none(tmp_path: Path) -> None:
    assert Manifest.load(tmp_path) is None


def test_texts_are_the_reasoning_texts_alone() -> None:
    assert Manifest(**TEXTS, name="demo", seed=3).texts == ReasoningTexts(**TEXTS)


def test_save_replaces_the_file_instead_of_rewriting_it(tmp_path: Path) -> None:
    """A process that has the old file open keeps its whole content."""
    path = tmp_path / "anytime.json"
    Manifest(**TEXTS, name="old").save(tmp_path)
    opened_before = tmp_path / "old.json"
    os.link(path, opened_before)
    Manifest(**TEXTS, name="new").save(tmp_path)
    assert json.loads(opened_before.read_text(encoding="utf-8"))["name"] == "old"
    assert json.loads(path.read_text(encoding="utf-8"))["name"] == "new"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["anytime.json", "old.json"]


def test_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    Manifest(**TEXTS, name="old").save(tmp_path)
    unwritable = Manifest.model_construct(**TEXTS, name="half of a pair: \ud800", versions={})
    with pytest.raises(UnicodeEncodeError):
        unwritable.save(tmp_path)
    loaded = Manifest.load(tmp_path)
    assert loaded is not None
    assert loaded.name == "old"


@pytest.mark.parametrize(
    ("patch", "key"),
    [
        ({"budget": [1, 2]}, "budget"),
        ({"think_start": None}, "think_start"),
        ({"think_end": 7}, "think_end"),
        ({"answer_tokens": 0}, "answer_tokens"),
        ({"answer_tokens": 10**9}, "answer_tokens"),
        ({"think_end": "<think>"}, "think_end must not be think_start"),
        ({"think_start": " \n"}, "think_start must not be white space"),
        ({"think_end": " "}, "think_end must not be white space"),
        ({"think_end_variants": [""]}, "think_end_variants must not be white space"),
        ({"budgets": [0]}, "budgets.0"),
        ({"budgets": [64, 32]}, "budgets"),
        ({"budgets": [32, 32]}, "budgets"),
        ({"prior": "cubic"}, "prior"),
        ({"budgets": [1, 2], "prior": [1.0]}, "prior"),
        ({"budgets": [1, 2], "prior": [2.0, -1.0]}, "prior"),
        ({"budgets": [1, 2], "prior": [1.0, float("nan")]}, "prior"),
        ({"trained": "ppo"}, "trained"),
        (
            {"accuracy_curve": [{"budget": 1, "accuracy": 1.5, "low": 0, "high": 1, "n": 1}]},
            "accuracy_curve.0.accuracy",
        ),
        (
            {"accuracy_curve": [{"budget": 1, "accuracy": 1, "low": 0, "high": 1, "n": 0}]},
            "accuracy_curve.0.n",
        ),
        (
            {"accuracy_curve": [{"budget": 1, "accuracy": 1, "low": 0, "high": 1}]},
            "accuracy_curve.0.n",
        ),
    ],
)
def test_invalid_value_is_refused_with_its_key(tmp_path: Path, patch: dict[str, Any], key: str) -> None:
    path = tmp_path / "anytime.json"
    path.write_text(json.dumps(TEXTS | patch), encoding="utf-8")
    with pytest.raises(UnusableModel) as refused:
        Manifest.load(tmp_path)
    # The path of the file may contain any text; the message after it must name the key.
    assert key in str(refused.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("missing", TEXTS)
def test_missing_text_is_named(tmp_path: Path, missing: str) -> None:
    rest = {name: text for name, text in TEXTS.items() if name != missing}
    (tmp_path / "anytime.json").write_text(json.dumps(rest), encoding="utf-8")
    with pytest.raises(UnusableModel, match=rf"anytime\.json: {missing}: Field required"):
        Manifest.load(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b"{'think_start': 1}", b"\xff\xfe", b'{"name": "\xff"}']
)
def test_file_that_is_not_json_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "anytime.json").write_bytes(content)
    with pytest.raises(UnusableModel, match=r"anytime\.json: the file: "):
        Manifest.load(tmp_path)


def test_unreadable_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "anytime.json").mkdir()
    with pytest.raises(UnusableModel, match=r"anytime\.json is not a file"):
        Manifest.load(tmp_path)


def test_file_is_indented_and_readable(tmp_path: Path) -> None:
    """People read and edit it: one key a line, and no escapes for characters beyond ASCII."""
    texts: dict[str, Any] = TEXTS | {"answer_lead_in": "Réponse : "}
    Manifest(**texts, budgets=[32]).save(tmp_path)
    lines = (tmp_path / "anytime.json").read_bytes().decode("utf-8").splitlines()
    assert lines[:5] == [
        "{",
        '  "think_start": "<think>",',
        '  "think_end": "</think>",',
        '  "truncation": "...",',
        '  "answer_lead_in": "Réponse : ",',
    ]
    assert lines[-1] == "}"
