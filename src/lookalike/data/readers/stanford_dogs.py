"""Stanford Dogs: images.tar, and lists.tar with train_list.mat and test_list.mat (file_list, labels from 1)."""

from __future__ import annotations

import numpy as np

from lookalike.data.matlab import read_mat
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput, inside


def read(inputs: ReaderInput) -> RawData:
    """Read both lists.

    Raises:
        LookalikeError: A list or an image is missing or damaged.
    """
    lists, images = inputs.unpacked("lists.tar"), inputs.unpacked("images.tar") / "Images"
    names: list[str] = []
    labels: list[int] = []
    splits: list[str] = []
    for split in ("train", "test"):
        path = inside(lists, f"{split}_list.mat", lists)
        content = read_mat(path, "file_list", "labels")
        files = [str(cell[0]) for cell in content["file_list"].ravel()]
        names += files
        labels += (content["labels"].ravel().astype(np.int64) - 1).tolist()
        splits += [split] * len(files)
    breeds = {label: name.split("/")[0].split("-", 1)[-1] for name, label in zip(names, labels, strict=True)}
    return RawData(
        images=[inside(images, name, lists) for name in names],
        labels=np.array(labels, np.int64),
        splits=np.array(splits),
        class_names=[breeds[label] for label in sorted(breeds)],
        sources=names,
    )
