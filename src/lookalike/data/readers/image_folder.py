"""A user's own images: folders train/<class>/ and test/<class>/, or a CSV file with columns file, label, split.

A set that only gives queries to the models of another one (`evaluated_with`) needs no training images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lookalike.data.own_images import list_images
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput


def read(inputs: ReaderInput) -> RawData:
    """Read what the study's `path` names.

    Raises:
        LookalikeError: The path is neither, a class or a file is missing or listed twice, or there is no test set.
    """
    listed = list_images(Path(inputs.settings["path"]))
    return RawData(
        images=listed.files,
        labels=np.array(listed.labels, np.int64),
        splits=np.array(listed.splits),
        class_names=listed.class_names,
        sources=listed.sources,
        environments=np.array(listed.environments, np.int64),
        facts={"left_out": [str(path) for path in listed.left_out]},
    )
