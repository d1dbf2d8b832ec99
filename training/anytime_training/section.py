"""Base classes and types of recipes and of the tasks that they name. Imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Share = Annotated[float, Field(ge=0, le=1)]
Beta = Annotated[float, Field(ge=0, lt=1)]
"""Decay rate of one of AdamW's moments."""

ENVIRONMENT_PREFIX = "ANYTIME_TRAIN_"


class Section(BaseModel):
    """A table of a recipe: unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class RecipeSettings(BaseSettings):
    """A whole recipe; `config.load_recipe` fills it in."""

    model_config = SettingsConfigDict(
        **Section.model_config, env_prefix=ENVIRONMENT_PREFIX, env_nested_delimiter="__"
    )
