"""NVIDIA Nemotron Nano 2 and Nemotron 3."""

from anytime_server.reasoning.family import Family, Signs, Switch, thinking_between

FAMILY = Family(
    name="nemotron",
    models="Nemotron-Nano-v2, Nemotron-3",
    signs=Signs(model_types=("nemotron_h",), template=("<think>", "</think>")),
    # The model card's own budget control ends thinking with a full stop.
    texts=thinking_between("<think>", "</think>", truncation=".\n", no_thinking="<think></think>"),
    switch=Switch(on={"enable_thinking": True}, off={"enable_thinking": False}, system_off="/no_think"),
    sampling={"temperature": 0.6, "top_p": 0.95},
    note="A hybrid model: the answer's prompt is computed again from the last cached block.",
)
