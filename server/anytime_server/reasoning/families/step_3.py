"""Step-3, which writes no think-start of its own, and Step-3.5."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="step-3",
    models="Step-3, Step-3.5-Flash",
    signs=Signs(model_types=("step3", "step3_text", "step3p5", "step3_vl")),
    texts=thinking_between("<think>", "</think>"),
    sampling={"temperature": 1.0, "top_p": 0.95},
)
