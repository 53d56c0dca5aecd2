"""ImageNet-R, -Sketch, -A, DAmageNet: test images in folders named by WordNet id, somewhere in one archive."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from lookalike.core.errors import LookalikeError
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput, images_below
from lookalike.data.registry import DATA_SETS

WNID = re.compile(r"n\d{8}")


def read(inputs: ReaderInput) -> RawData:
    """Read all images as a test set; classes are the folders, which `facts` names by WordNet id.

    Raises:
        LookalikeError: The archive is missing or damaged, or holds no such folder.
    """
    archive = DATA_SETS[inputs.name].files[0].name
    root = inputs.unpacked(archive)
    folders = [path for path in sorted(root.rglob("n*")) if path.is_dir() and WNID.fullmatch(path.name)]
    parents: set[Path] = {path.parent for path in folders}
    if len(parents) != 1:
        raise LookalikeError(
            f"{inputs.file(archive)} must hold one set of folders named by WordNet id, such as n01440764; "
            f"it holds {len(parents)}."
        )
    wnids = [path.name for path in folders]
    files, labels, _ = images_below(parents.pop(), wnids)
    return RawData(
        images=files,
        labels=np.array(labels, np.int64),
        splits=np.full(len(files), "test"),
        class_names=wnids,
        sources=[str(file.relative_to(root)) for file in files],
        facts={"wnids": wnids},
    )
