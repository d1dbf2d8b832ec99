"""Recipes: everything that decides how a training run goes."""

from anytime_training.config.load import load_recipe
from anytime_training.config.warmstart import WarmstartRecipe

__all__ = ["WarmstartRecipe", "load_recipe"]
