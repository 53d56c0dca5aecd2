"""ObjectNet: images/<folder>/*.png with a border of one red pixel, and mappings of folders to ImageNet's classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lookalike.core.errors import LookalikeError
from lookalike.data.image_files import class_folders
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput, images_below, inside
from lookalike.data.resources import wnids as imagenet_wnids


def read(inputs: ReaderInput) -> RawData:
    """Read all images as a test set.

    `facts["folder_wnids"]` gives, for the folders that ImageNet knows, the WordNet ids that count as right.

    Raises:
        LookalikeError: The archive, a folder or a mapping is missing or damaged.
    """
    root = inputs.unpacked("objectnet-1.0.zip") / "objectnet-1.0"
    names = class_folders(root / "images")
    files, labels, _ = images_below(root / "images", names)
    to_label = _json(root, "folder_to_objectnet_label.json")
    to_imagenet = _json(root, "objectnet_to_imagenet_1k.json")
    number = {int(value): int(key) for key, value in _json(root, "pytorch_to_imagenet_2012_id.json").items()}
    lines = inside(root / "mappings", "imagenet_to_label_2012_v2", root).read_text().splitlines()
    wnids = imagenet_wnids()
    # Line i of the list describes the class of ImageNet-2012 id i; PyTorch's index goes through the third mapping.
    wnid_of = {words.strip(): wnids[number[line]] for line, words in enumerate(lines) if line in number}
    folder_wnids = {
        name: [wnid_of[words.strip()] for words in to_imagenet[to_label[name]].split("; ")]
        for name in names
        if to_label.get(name) in to_imagenet
    }
    return RawData(
        images=files,
        labels=np.array(labels, np.int64),
        splits=np.full(len(files), "test"),
        class_names=names,
        sources=[str(file.relative_to(root)) for file in files],
        trim=1,
        facts={"folder_wnids": folder_wnids},
    )


def _json(root: Path, name: str) -> dict[str, Any]:
    path = inside(root / "mappings", name, root)
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LookalikeError(f"{path} is not valid JSON ({error}); fetch the source again.") from None
    return content
