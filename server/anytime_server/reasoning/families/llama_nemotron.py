"""Llama-Nemotron: thinks if its system message says so."""

from anytime_server.reasoning.family import Family, Switch, think_tags

FAMILY = Family(
    name="llama-nemotron",
    models="Llama-3.1-Nemotron-Nano, Llama-3.3-Nemotron-Super, -Ultra",
    texts=think_tags(no_thinking=""),
    template=("detailed thinking",),
    model_types=("llama", "nemotron-nas", "deci"),
    switch=Switch(system_on="detailed thinking on", system_off="detailed thinking off"),
    sampling={"temperature": 0.6, "top_p": 0.95},
)
