"""Oxford-IIIT Pet: images/NAME.jpg, annotations/{trainval,test}.txt with lines "NAME CLASS SPECIES BREED"."""

from __future__ import annotations

import numpy as np

from lookalike.core.errors import LookalikeError
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput, inside

PARTS = {"train": "trainval", "test": "test"}


def read(inputs: ReaderInput) -> RawData:
    """Read both parts; classes are the 37 breeds, named as in the file names.

    Raises:
        LookalikeError: A list or an image is missing, or a line has another form.
    """
    images = inputs.unpacked("images.tar.gz") / "images"
    lists = inputs.unpacked("annotations.tar.gz") / "annotations"
    names: list[str] = []
    labels: list[int] = []
    splits: list[str] = []
    for split, part in PARTS.items():
        path = inside(lists, f"{part}.txt", lists)
        for line in path.read_text().splitlines():
            fields = line.split()
            if len(fields) != 4:
                raise LookalikeError(f"{path} has the line {line!r}, not four columns; fetch it again.")
            names.append(f"{fields[0]}.jpg")
            labels.append(int(fields[1]) - 1)
            splits.append(split)
    breeds = {label: name.rsplit("_", 1)[0].replace("_", " ") for name, label in zip(names, labels, strict=True)}
    return RawData(
        images=[inside(images, name, lists) for name in names],
        labels=np.array(labels, np.int64),
        splits=np.array(splits),
        class_names=[breeds[label] for label in sorted(breeds)],
        sources=names,
    )
