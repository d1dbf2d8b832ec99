"""Looks up, before a run, which model the server has and which prompts to send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx2
from pydantic import BaseModel, ValidationError

from anytime_client import operations
from anytime_client.async_client import AsyncClient
from anytime_client.bench.arguments import Arguments
from anytime_client.bench.problems import InvalidProblems, Problem, read_problems


class UnknownModel(ValueError):
    """The server does not have the model, or has several and none was named."""


class _Model(BaseModel):
    """A model of any server that speaks OpenAI's protocol."""

    id: str
    anytime: dict[str, Any] = {}


class _Models(BaseModel):
    data: list[_Model]


class _AnyServerClient(AsyncClient):
    async def list_models(self) -> Sequence[_Model]:
        return await self._run(operations.Operation(method="GET", path="/v1/models", parse=_parse))


def _parse(response: httpx2.Response) -> Sequence[_Model]:
    try:
        return _Models.model_validate_json(response.content).data
    except ValidationError:
        operations.models().parse(response)  # raises the error that fits the response
        raise


async def discover(arguments: Arguments) -> tuple[Arguments, str, Sequence[Problem]]:
    """The arguments with the server's normalized address, the model's name, and the problems.

    Raises:
        ClientError: the server cannot be reached, or refuses to list its models.
        UnknownModel: the server does not have the model, or has several and none was named.
        InvalidProblems: the file cannot be read, or there is no file and the model has no examples.
    """
    problems = None if arguments.prompts is None else read_problems(arguments.prompts)
    async with _AnyServerClient(arguments.url, arguments.api_key) as client:
        models = {model.id: model for model in await client.list_models()}
    names = ", ".join(models)
    if arguments.model is None and len(models) != 1:
        raise UnknownModel(f"choose a --model: {names}" if models else "the server has no model")
    if arguments.model is not None and arguments.model not in models:
        raise UnknownModel(f"{arguments.url} has no model {arguments.model!r}; it has: {names}")
    name = arguments.model or next(iter(models))
    if problems is None:
        problems = [Problem(prompt=prompt) for prompt in models[name].anytime.get("examples") or ()]
    if not problems:
        raise InvalidProblems(f"the model {name} has no examples: name a file with --prompts")
    return replace(arguments, url=client.url), name, problems
