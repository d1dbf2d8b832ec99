"""The tokenizer that vLLM keeps beside the server's own: only words that are banned are encoded with it."""

from __future__ import annotations

from typing import Any


async def test_vllm_does_not_copy_the_tokenizer_for_threads(vllm_engine: Any) -> None:
    from vllm.tokenizers.hf import ThreadSafeHFTokenizerMixin

    tokenizer = vllm_engine._llm.renderer.get_tokenizer()
    assert tokenizer.encode("ab") == [64, 65]
    assert not isinstance(tokenizer, ThreadSafeHFTokenizerMixin)
