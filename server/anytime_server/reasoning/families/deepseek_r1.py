"""DeepSeek-R1 and its distillations."""

from anytime_server.reasoning.family import Family, Signs, thinking_between

FAMILY = Family(
    name="deepseek-r1",
    models="DeepSeek-R1, R1-0528, R1-Distill-Qwen and -Llama",
    signs=Signs(tokens=("<think>", "</think>", "<｜Assistant｜>")),
    # Truncation and lead-in as the AnytimeReasoner authors trained with (arXiv 2505.13438).
    texts=thinking_between(
        "<think>", "</think>", truncation="...\n\n...\n\n", answer_lead_in="\n\n**Final Answer**\n"
    ),
    sampling={"temperature": 0.6, "top_p": 0.95},
)
