"""Settings of `matching`, matching networks on a random memory."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lookalike.contracts.settings import ReadFrom
from lookalike.methods.memory.settings import MemoryMethodSettings


class MatchingSettings(MemoryMethodSettings):
    """Study entry of `matching`."""

    citations: ClassVar[tuple[str, ...]] = (
        "O. Vinyals, C. Blundell, T. Lillicrap, K. Kavukcuoglu and D. Wierstra. Matching Networks for One Shot "
        "Learning. NeurIPS, 2016.",
    )
    method: Literal["matching"] = Field(description="Mixture of a random memory's labels.")
    explain: Annotated[tuple[()], ReadFrom(None)] = Field((), description="Nothing yet.")
    reads: Annotated[int, Field(ge=1)] = Field(2, description="Steps of the LSTM that reads the memory for a query.")
