"""Step-3, which writes no think-start of its own, and Step-3.5."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="step-3",
    models="Step-3, Step-3.5-Flash",
    texts=think_tags(),
    model_types=("step3", "step3_text", "step3p5", "step3_vl"),
    sampling={"temperature": 1.0, "top_p": 0.95},
)
