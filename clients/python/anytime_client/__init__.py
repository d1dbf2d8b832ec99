"""Client library of an Anytime server: `Client`, and `AsyncClient` for asyncio.

Speaks HTTP; imports nothing from the server.
"""

from anytime_client.async_client import AsyncClient, AsyncStream
from anytime_client.client import Client, Stream
from anytime_client.errors import (
    ClientError,
    RequestRefused,
    ServerUnreachable,
    SessionFailed,
    StreamInterrupted,
    TimedOut,
)
from anytime_client.events import (
    Answer,
    AnswerDelta,
    AnswerDone,
    AnswerStarted,
    Cause,
    Done,
    Event,
    ResolvedBudget,
    Result,
    Started,
    Stop,
    Thinking,
    Timing,
    UnknownEvent,
    Usage,
)
from anytime_client.operations import Model
from anytime_client.options import (
    AnswerOptions,
    Budget,
    Message,
    Messages,
    Options,
    SamplingOptions,
    StopWhen,
    ThinkingOptions,
)

__all__ = [
    "Answer",
    "AnswerDelta",
    "AnswerDone",
    "AnswerOptions",
    "AnswerStarted",
    "AsyncClient",
    "AsyncStream",
    "Budget",
    "Cause",
    "Client",
    "ClientError",
    "Done",
    "Event",
    "Message",
    "Messages",
    "Model",
    "Options",
    "RequestRefused",
    "ResolvedBudget",
    "Result",
    "SamplingOptions",
    "ServerUnreachable",
    "SessionFailed",
    "Started",
    "Stop",
    "StopWhen",
    "Stream",
    "StreamInterrupted",
    "Thinking",
    "ThinkingOptions",
    "TimedOut",
    "Timing",
    "UnknownEvent",
    "Usage",
]
