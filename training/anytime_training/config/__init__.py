"""Recipes: everything that decides how a training run goes."""

from anytime_training.config.brpo import BrpoRecipe
from anytime_training.config.load import Recipe, load_recipe
from anytime_training.demo.recipe import FineTuningRecipe, WarmstartRecipe

__all__ = ["BrpoRecipe", "FineTuningRecipe", "Recipe", "WarmstartRecipe", "load_recipe"]
