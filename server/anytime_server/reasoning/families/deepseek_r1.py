"""DeepSeek-R1 and its distillations."""

from anytime_server.reasoning.family import Family, think_tags

FAMILY = Family(
    name="deepseek-r1",
    models="DeepSeek-R1, R1-0528, R1-Distill-Qwen and -Llama",
    # Truncation and lead-in as the AnytimeReasoner authors trained with (arXiv 2505.13438).
    texts=think_tags(truncation="...\n\n...\n\n", answer_lead_in="\n\n**Final Answer**\n"),
    tokens=("<think>", "</think>", "<｜Assistant｜>"),
    sampling={"temperature": 0.6, "top_p": 0.95},
)
