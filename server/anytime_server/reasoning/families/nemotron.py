"""NVIDIA Nemotron Nano 2 and Nemotron 3."""

from anytime_server.reasoning.family import Family, Switch, think_tags

FAMILY = Family(
    name="nemotron",
    models="Nemotron-Nano-v2, Nemotron-3",
    # The model card's own budget control ends thinking with a full stop.
    texts=think_tags(truncation=".\n", no_thinking="<think></think>"),
    template=("<think>", "</think>"),
    model_types=("nemotron_h",),
    switch=Switch(on={"enable_thinking": True}, off={"enable_thinking": False}, system_off="/no_think"),
    sampling={"temperature": 0.6, "top_p": 0.95},
    note="A hybrid model: the answer's prompt is computed again from the last cached block.",
)
