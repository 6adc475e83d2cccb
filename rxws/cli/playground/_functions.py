"""Functions that steps call. The page shows their source with the pipeline."""

import asyncio
from collections.abc import AsyncIterator

__all__ = ["look_up", "model"]


async def model(prompt: str) -> AsyncIterator[str]:
    """Yield the tokens of an answer, as a language model does."""
    if prompt != "stop":
        for token in f"You ask about {prompt}: it depends on the weather.".split():
            await asyncio.sleep(0.4)
            yield token


async def look_up(text: str, seconds: float) -> str:
    """Wait as for a database or another service."""
    await asyncio.sleep(seconds)
    return f"{text}!"
