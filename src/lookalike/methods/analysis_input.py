"""What an analysis of a method reads, opened once by the stage that runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lookalike.contracts.classifier import Classifier
from lookalike.contracts.features import Features
from lookalike.core.seeds import RunSeeds
from lookalike.data.images import Images, open_images
from lookalike.data.prepared import PreparedData


@dataclass(frozen=True)
class AnalysisInput:
    """Everything that an analysis may read.

    Attributes:
        run: Id of the run, for messages.
        classifier: The classifier with its support; its network is on `device`.
        data: The prepared data set of the run.
        queries: Embedded images of the evaluation set.
        training_rows: (n,) index rows of the training images, in the order of the support.
        evaluation_set: Name of the evaluation set.
        settings: The analysis' own settings, under its key; None without a key.
        device: Device of the network.
        seeds: Seeds of the run.
        open_gallery: Lets the classifier prepare the training images, where its method compares images with them.
    """

    run: str
    classifier: Classifier
    data: PreparedData
    queries: Features
    training_rows: np.ndarray
    evaluation_set: str
    settings: Any
    device: torch.device
    seeds: RunSeeds
    open_gallery: Callable[[], None]

    def training_images(self) -> Images:
        """The training images, on the device."""
        return open_images(self.data, self.training_rows, self.device)

    def images(self, ids: np.ndarray) -> Images:
        """Images of the data set by id, on the device."""
        return open_images(self.data, ids, self.device)
