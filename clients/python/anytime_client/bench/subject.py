"""The server that is measured: which model it is asked for, and which problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx2
from pydantic import BaseModel, ValidationError

from anytime_client import calls
from anytime_client.aio import AsyncClient
from anytime_client.bench.arguments import Plan
from anytime_client.bench.problems import Problem, UnusableProblems, read_problems


class UnknownModel(ValueError):
    """The server does not have it, or it is not clear which is meant."""


class _Served(BaseModel):
    """A model, of a server of any kind."""

    id: str
    anytime: dict[str, Any] = {}


class _AllServed(BaseModel):
    data: list[_Served]


class _Server(AsyncClient):
    async def served(self) -> Sequence[_Served]:
        return await self._run(calls.Call(method="GET", path="/v1/models", outcome=_read))


def _read(response: httpx2.Response) -> Sequence[_Served]:
    try:
        return _AllServed.model_validate_json(response.content).data
    except ValidationError:
        calls.models().outcome(response)  # which says what it is instead
        raise


async def find(plan: Plan) -> tuple[Plan, str, Sequence[Problem]]:
    """The plan with the server's address as it is to be used, the model's name, and the problems.

    Raises:
        ClientError: nobody answers there, or refuses to say what is served.
        UnknownModel: there is not that model, or not one alone.
        UnusableProblems: the file cannot be used, or there is none and the model names no examples.
    """
    problems = None if plan.prompts is None else read_problems(plan.prompts)
    async with _Server(plan.url, plan.api_key) as server:
        served = {one.id: one for one in await server.served()}
    names = ", ".join(served)
    if plan.model is None and len(served) != 1:
        raise UnknownModel(f"say which --model of these: {names}" if served else "it serves no model")
    if plan.model is not None and plan.model not in served:
        raise UnknownModel(f"there is no model {plan.model!r} at {plan.url}; there are: {names}")
    name = plan.model or next(iter(served))
    if problems is None:
        problems = [Problem(prompt=prompt) for prompt in served[name].anytime.get("examples") or ()]
    if not problems:
        raise UnusableProblems(f"{name} names no examples: say with --prompts what to ask")
    return replace(plan, url=server.url), name, problems
