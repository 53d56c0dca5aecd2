"""Settings of `protonet`, prototypical networks on a random memory."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lookalike.contracts.settings import ReadFrom
from lookalike.methods.memory.settings import MemoryMethodSettings, MemorySettings


class BalancedMemorySettings(MemorySettings):
    """A memory that holds every class."""

    balanced: Literal[True] = Field(True, description="Always, so that every class is in it.")  # type: ignore[assignment]


class ProtoNetSettings(MemoryMethodSettings):
    """Study entry of `protonet`."""

    citations: ClassVar[tuple[str, ...]] = (
        "J. Snell, K. Swersky and R. Zemel. Prototypical Networks for Few-Shot Learning. NeurIPS, 2017.",
    )
    method: Literal["protonet"] = Field(description="Nearest class mean of a random memory.")
    explain: Annotated[tuple[()], ReadFrom(None)] = Field((), description="Nothing: class means are no images.")
    memory: BalancedMemorySettings = Field(  # type: ignore[assignment]
        BalancedMemorySettings(), description="The memory of a training step, and of inference."
    )
