"""Settings that methods with a random memory of training images share."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lookalike.contracts.settings import ReadFrom, Settings, SmokeAtMost, TrainedSettings

Mode = Literal["cached", "draws"]


class MemorySettings(Settings):
    """The memory of a training step, and of inference."""

    size: Annotated[int, Field(ge=1), SmokeAtMost(8)] = Field(
        100, description="Images in the memory; all of the training subset where it has fewer."
    )
    balanced: bool = Field(False, description="The same number of images of each class, give or take one.")
    exclude_queries: bool = Field(True, description="In training no query uses its own image.")


class MemoryInference(Settings):
    """Memories at inference."""

    draws: Annotated[int, Field(ge=1)] = Field(5, description="Memories that mode draws averages over.")


class MemoryMethodSettings(TrainedSettings):
    """What study entries of methods with a memory share."""

    modes: Annotated[tuple[Mode, ...], Field(min_length=1), ReadFrom(None)] = Field(
        ("cached", "draws"),
        description="`cached`: one memory for all queries; `draws`: results averaged over several memories.",
    )
    memory: MemorySettings = Field(MemorySettings(), description="The memory of a training step, and of inference.")
    inference: Annotated[MemoryInference, ReadFrom("embed")] = Field(
        MemoryInference(), description="Memories at inference."
    )

    def support_images(self, n_classes: int) -> int:
        """Images of the memory of a step."""
        return self.memory.size
