"""`anytime.json`: what a checkpoint says about its thinking, and how well it does at each budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from anytime_server.errors import UnusableModel
from anytime_server.reasoning.effort import EffortLevel
from anytime_server.reasoning.family import Family
from anytime_server.reasoning.format import ReasoningTexts
from anytime_server.reasoning.truncation import Forcing

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

MANIFEST_NAME = "anytime.json"
MAX_ANSWER_TOKENS = 100_000
"""Of the estimate; more than any model answers."""


class AccuracyPoint(BaseModel):
    """Accuracy measured at one budget."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    budget: int = Field(ge=0)
    """Thinking tokens allowed."""
    accuracy: float = Field(ge=0, le=1)
    """Share of problems answered rightly."""
    low: float = Field(ge=0, le=1)
    """Lower end of its 95% Wilson interval."""
    high: float = Field(ge=0, le=1)
    """Upper end of its 95% Wilson interval."""
    n: PositiveInt
    """Problems tried."""


class Manifest(ReasoningTexts):
    """The manifest, as stored beside the weights and as shown by `/v1/models`."""

    name: str | None = None
    """The checkpoint's own name; it is served under it unless `--name` gives another."""
    forcing: Forcing = Forcing.AUTO
    """How the answer begins after the thinking, unless the request says otherwise."""
    answer_tokens: Annotated[int, Field(gt=0, le=MAX_ANSWER_TOKENS)] = 256
    """Room for an answer, unless the request says otherwise."""
    efforts: dict[EffortLevel, PositiveInt] = Field(default_factory=dict)
    """Thinking tokens of reasoning efforts; those left out have the server's defaults."""
    budgets: list[PositiveInt] = Field(default_factory=list)
    """Budgets that it was trained or measured at, ascending."""
    prior: Literal["base", "uniform", "linear"] | list[Weight] | None = None
    """Distribution over `budgets` that training drew from; None where it drew none."""
    accuracy_curve: list[AccuracyPoint] = Field(default_factory=list)
    """Accuracy as measured on held-out problems, budgets ascending; may be at others than `budgets`."""
    examples: list[str] = Field(default_factory=list)
    """A handful of prompts that it is good at."""
    trained: Literal["warmstart", "grpo", "brpo"] | None = None
    """The last stage of its training."""
    task: dict[str, Any] | None = None
    """The task that it was trained on, as recipes write it."""
    recipe: str | None = None
    """Name of the recipe that made it."""
    seed: int | None = None
    """Seed of that run."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of the libraries that made it."""

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        if self.budgets != sorted(set(self.budgets)):
            raise ValueError("budgets must ascend strictly")
        if isinstance(self.prior, list) and len(self.prior) != len(self.budgets):
            raise ValueError("prior must have one weight per budget")
        return self

    @property
    def texts(self) -> ReasoningTexts:
        """The part that says how thinking is truncated."""
        return ReasoningTexts(**{name: getattr(self, name) for name in ReasoningTexts.model_fields})

    @classmethod
    def of_family(cls, family: Family) -> Manifest:
        """The manifest of a checkpoint that has none."""
        return cls(**family.texts.model_dump())

    def with_texts(self, texts: ReasoningTexts) -> Manifest:
        """The same with other texts around the thinking."""
        return Manifest.model_validate(self.model_dump() | texts.model_dump())

    @classmethod
    def load(cls, folder: Path) -> Manifest | None:
        """Read `anytime.json` of a checkpoint; None if it has none.

        Raises:
            UnusableModel: the file is there but cannot be understood.
        """
        path = folder / MANIFEST_NAME
        return cls.read(path) if path.exists() else None

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read a manifest.

        Raises:
            UnusableModel: the file is not there, or cannot be understood.
        """
        try:
            if path.exists() and not path.is_file():
                raise UnusableModel(f"{path} is not a file")
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise UnusableModel(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from error
        except OSError as error:
            raise UnusableModel(f"{path} cannot be read: {error.strerror}") from error

    def save(self, folder: Path) -> None:
        """Write `anytime.json` beside the weights, whole or not at all."""
        path = folder / MANIFEST_NAME
        partial = path.with_suffix(".json.partial")
        partial.write_text(
            json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        partial.replace(path)
