"""Checkpoints, engines and servers that the whole suite shares."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from anytime_server.engine.base import Engine
from anytime_server.engine.scripted import Script, ScriptedEngine
from anytime_server.errors import UnusableModel
from anytime_server.models.catalogue import CATALOGUE
from anytime_server.models.get import get
from anytime_server.models.package import UNREACHABLE
from anytime_server.scheduler.scheduler import Scheduler
from anytime_server.text.model import Model
from hypothesis import settings

from .distribution import group_for_workers
from .servers import RealServer, start

TINY_MANIFEST: dict[str, Any] = {
    "name": "tiny",
    "think_start": "<think>",
    "think_end": "</think>",
    "truncation": "...",
    "answer_lead_in": "Answer: ",
    "forcing": "force",
    "answer_tokens": 12,
    "examples": ["7-3", "2+2"],
}
TINY_WINDOW = 512

settings.register_profile("every push", derandomize=True, deadline=None)
settings.register_profile("nightly", max_examples=1000, deadline=None, print_blob=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--nightly", action="store_true", help="run the long tests, with new Hypothesis examples"
    )
    parser.addoption(
        "--device", choices=("cpu", "cuda"), default="cpu", help="of the transformers engine (default: cpu)"
    )


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("nightly" if config.getoption("--nightly") else "every push")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--nightly"):
        long = [item for item in items if item.get_closest_marker("nightly")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]
    group_for_workers(items)


@pytest.fixture(scope="session")
def nightly(request: pytest.FixtureRequest) -> bool:
    """Whether tests may take long."""
    return bool(request.config.getoption("--nightly"))


@pytest.fixture
def no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP clients load no certificates, which would take most of the time of a short test."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", os.devnull)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen3 with a byte-level tokenizer, which rarely ends its thinking by itself."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path_factory.mktemp("tiny")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<pad>", "<|user|>", "<|assistant|>", "<|end|>", "<think>", "</think>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", pad_token="<pad>")
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ 'assistant' if m.role == 'assistant' else 'user' }}|>"
        "{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|><think>{% endif %}"
    )
    torch.manual_seed(0)
    model = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=32,
            max_position_embeddings=TINY_WINDOW,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=backend.token_to_id("<|end|>"),
            pad_token_id=backend.token_to_id("<pad>"),
        )
    )
    model.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "anytime.json").write_text(json.dumps(TINY_MANIFEST))
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_checkpoint: Path) -> Model:
    return Model.load(tiny_checkpoint)


HARMONY_TEMPLATE = (
    "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}"
    "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}"
    "{# <|channel|>analysis #}<|start|>assistant"
)


@pytest.fixture(scope="session")
def harmony_model(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The tiny checkpoint with the special tokens of gpt-oss, which it is recognised as."""
    from transformers import AutoTokenizer

    folder = Path(shutil.copytree(tiny_checkpoint, tmp_path_factory.mktemp("harmony") / "tiny"))
    (folder / "anytime.json").unlink(missing_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ends = ["<|call|>", "<|return|>"]
    tokenizer.backend_tokenizer.add_special_tokens(["<|start|>", "<|channel|>", "<|message|>", *ends])
    tokenizer.chat_template = HARMONY_TEMPLATE
    tokenizer.eos_token = "<|return|>"
    tokenizer.save_pretrained(folder)
    for name in ("config.json", "generation_config.json"):
        settings = json.loads((folder / name).read_text()) if (folder / name).is_file() else {}
        settings["eos_token_id"] = tokenizer.convert_tokens_to_ids(ends)
        (folder / name).write_text(json.dumps(settings))
    return Model.load(folder)


@pytest.fixture
def scripted(tiny_model: Model) -> Callable[..., ScriptedEngine]:
    """Makes a scripted engine from the fields of a `Script`."""

    def make(
        *,
        window_tokens: int = TINY_WINDOW,
        max_num_seqs: int = 256,
        model: Model = tiny_model,
        **script: Any,
    ) -> ScriptedEngine:
        return ScriptedEngine(
            model.tokenizer,
            model.reasoning,
            script=Script(**script),
            window_tokens=window_tokens,
            max_num_seqs=max_num_seqs,
        )

    return make


@pytest.fixture(scope="session")
async def vllm_engine(tiny_checkpoint: Path) -> AsyncGenerator[Engine, None]:
    """vLLM on the tiny checkpoint, in this process."""
    from anytime_server.engine.vllm import VllmEngine

    engine = VllmEngine(tiny_checkpoint)
    await engine.start()
    yield engine
    await engine.stop()


@pytest.fixture(scope="session")
def smollm2_checkpoint() -> Path:
    """A real pretrained model, in the folder that it is served from. The first run downloads 93 MiB."""
    try:
        return get(CATALOGUE["smollm2"])
    except UnusableModel as error:
        if error.code != UNREACHABLE:
            raise
        pytest.skip(f"smollm2 is not here, and there is no connection to download it: {error}")


@pytest.fixture(scope="session")
async def smollm2_engine(smollm2_checkpoint: Path) -> AsyncGenerator[Engine, None]:
    """vLLM on the real model, in this process."""
    from anytime_server.engine.vllm import VllmEngine, VllmOptions

    engine = VllmEngine(smollm2_checkpoint, options=VllmOptions(window_tokens=1024))
    await engine.start()
    yield engine
    await engine.stop()


@pytest.fixture
async def start_scheduler(
    scripted: Callable[..., ScriptedEngine], tiny_model: Model
) -> AsyncGenerator[Callable[..., Any], None]:
    """Starts schedulers on scripted engines, and stops them after the test."""
    started: list[Scheduler] = []

    async def start(*, options: dict[str, Any] | None = None, **script: Any) -> Scheduler:
        scheduler = Scheduler(tiny_model, scripted(**script), measure_speed=False, **options or {})
        await scheduler.start()
        started.append(scheduler)
        return scheduler

    yield start
    for scheduler in started:
        await scheduler.stop()


@pytest.fixture(scope="session")
def demo_server() -> Generator[RealServer, None, None]:
    """A server on the bundled model, shared by all tests that leave it running."""
    server = start([])
    yield server
    server.stop()


@pytest.fixture(scope="session")
def real_server(tiny_checkpoint: Path) -> Generator[RealServer, None, None]:
    """A server on the tiny random checkpoint, shared by all tests that leave it running."""
    server = start(["--model", str(tiny_checkpoint)])
    yield server
    server.stop()


@pytest.fixture
def start_server() -> Generator[Callable[..., RealServer], None, None]:
    """Starts servers for one test, and kills those that are still running after it."""
    started: list[RealServer] = []

    def begin(*arguments: str, own_group: bool = False, forked: bool = True) -> RealServer:
        started.append(start(arguments, own_group=own_group, forked=forked))
        return started[-1]

    yield begin
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()
