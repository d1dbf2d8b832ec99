"""LangChain with an Anytime server: a thinking budget, streamed thinking, answers that match a schema.

`ChatOpenAI` keeps only the fields of OpenAI's API. The subclass below also keeps the thinking and the
`anytime` object, which has the reason why the thinking stopped. The bundled model cannot call tools; a model
that can receives them through `bind_tools` as usual.

    pip install langchain-openai
    python examples/langchain_agent.py
"""

from __future__ import annotations

import os
from typing import Any

from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

URL = os.environ.get("ANYTIME_URL", "http://127.0.0.1:8000")
QUESTION = "What is the last digit of 3 minus 3 plus 1 plus 4 times 7, left to right?"


class ChatAnytime(ChatOpenAI):
    """A `ChatOpenAI` that also keeps the thinking and the `anytime` object."""

    def _create_chat_result(self, response: Any, generation_info: dict[str, Any] | None = None) -> ChatResult:
        result = super()._create_chat_result(response, generation_info)
        for choice, generation in zip(response.choices, result.generations, strict=True):
            thinking = choice.message.model_extra.get("reasoning_content")
            generation.message.additional_kwargs["reasoning_content"] = thinking
            generation.message.response_metadata["anytime"] = response.anytime
        return result

    def _convert_chunk_to_generation_chunk(
        self, chunk: dict[str, Any], *args: Any, **kwargs: Any
    ) -> ChatGenerationChunk | None:
        converted = super()._convert_chunk_to_generation_chunk(chunk, *args, **kwargs)
        if converted is None:
            return None
        for choice in chunk["choices"]:
            if thinking := choice["delta"].get("reasoning_content"):
                converted.message.additional_kwargs["reasoning_content"] = thinking
        if "anytime" in chunk:
            converted.message.response_metadata["anytime"] = chunk["anytime"]
        return converted


class Digit(BaseModel):
    """The schema of the answer."""

    digit: int


def main() -> None:
    model = ChatAnytime(
        base_url=f"{URL}/v1",
        api_key=SecretStr("none"),
        model="anytime-demo",
        seed=4,
        extra_body={"thinking_token_budget": 24},
    )

    message = model.invoke(QUESTION)
    print("invoke:", message.content, message.response_metadata["anytime"]["stop"])

    print("stream: ", end="")
    for chunk in model.stream(QUESTION):
        print(chunk.additional_kwargs.get("reasoning_content", ""), end="", flush=True)
        if chunk.content:
            print(" ->", chunk.content, end="")
        if stop := chunk.response_metadata.get("anytime"):
            print("", stop["stop"]["cause"])

    answer = model.with_structured_output(Digit, method="json_schema").invoke(QUESTION)
    assert isinstance(answer, Digit)
    print("structured:", answer.digit)


if __name__ == "__main__":
    main()
