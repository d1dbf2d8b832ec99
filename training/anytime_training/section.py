"""What recipes, and the tasks that they name, are made of. Imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A table of a recipe: unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class RecipeSettings(BaseSettings):
    """A whole recipe, as `load_recipe` reads it."""

    model_config = SettingsConfigDict(
        **Section.model_config, env_prefix="ANYTIME_TRAIN_", env_nested_delimiter="__"
    )
