"""Llama-Nemotron: thinks if its system message says so."""

from anytime_server.reasoning.family import Family, Signs, Switch, thinking_between

FAMILY = Family(
    name="llama-nemotron",
    models="Llama-3.1-Nemotron-Nano, Llama-3.3-Nemotron-Super, -Ultra",
    signs=Signs(model_types=("llama", "nemotron-nas", "deci"), template=("detailed thinking",)),
    texts=thinking_between("<think>", "</think>", no_thinking=""),
    switch=Switch(system_on="detailed thinking on", system_off="detailed thinking off"),
    sampling={"temperature": 0.6, "top_p": 0.95},
)
