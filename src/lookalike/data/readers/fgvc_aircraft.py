"""FGVC-Aircraft: data/images/NUMBER.jpg, lists data/images_variant_{train,val,test}.txt and data/variants.txt."""

from __future__ import annotations

import numpy as np

from lookalike.core.errors import LookalikeError
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput, inside

PARTS = {"train": "train", "validation": "val", "test": "test"}


def read(inputs: ReaderInput) -> RawData:
    """Read the three parts with the variant as class.

    Raises:
        LookalikeError: A list or an image is missing, or a list names an unknown variant.
    """
    root = inputs.unpacked("fgvc-aircraft-2013b.tar.gz")
    folder = root / "fgvc-aircraft-2013b" / "data"
    variants = inside(folder, "variants.txt", root).read_text().splitlines()
    names: list[str] = []
    labels: list[int] = []
    splits: list[str] = []
    for split, part in PARTS.items():
        path = inside(folder, f"images_variant_{part}.txt", root)
        for line in path.read_text().splitlines():
            number, _, variant = line.partition(" ")
            if variant not in variants:
                raise LookalikeError(f"{path} names the variant {variant!r}, which variants.txt lacks.")
            names.append(f"images/{number}.jpg")
            labels.append(variants.index(variant))
            splits.append(split)
    return RawData(
        images=[inside(folder, name, folder) for name in names],
        labels=np.array(labels, np.int64),
        splits=np.array(splits),
        class_names=variants,
        sources=names,
    )
