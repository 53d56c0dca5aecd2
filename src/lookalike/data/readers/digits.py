"""The 1,797 handwritten digits that scikit-learn ships, 8 x 8 pixels in 17 grey levels.

The source has no official split. Ours holds out 50 images a class, drawn once with a fixed seed, so that
every study everywhere has the same 1,297 training and 500 test images.
"""

from __future__ import annotations

from importlib import resources

import numpy as np
from sklearn.datasets import load_digits

from lookalike.core.errors import LookalikeError
from lookalike.core.files import sha256
from lookalike.core.seeds import derive_seed
from lookalike.data.raw import RawData
from lookalike.data.reader_input import ReaderInput

FILE = "digits.csv.gz"
SHA256 = "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"
GREY_LEVELS = 16
TEST_PER_CLASS = 50


def read(inputs: ReaderInput) -> RawData:
    """Read the images from scikit-learn's wheel.

    Raises:
        LookalikeError: The wheel's file is another one than ours.
    """
    with resources.as_file(resources.files("sklearn.datasets.data") / FILE) as path:
        actual = sha256(path)
    if actual != SHA256:
        raise LookalikeError(
            f"{FILE} of the installed scikit-learn has sha256 {actual}, not {SHA256}; "
            "install the scikit-learn version of requirements.lock."
        )
    bunch = load_digits()
    images = np.rint(bunch.images * (255 / GREY_LEVELS)).astype(np.uint8)[:, None]
    labels = bunch.target.astype(np.int64)
    random = np.random.RandomState(derive_seed("digits", "split") % 2**32)  # a stream numpy keeps for ever
    order = random.permutation(len(labels))
    splits = np.full(len(labels), "train", dtype=object)
    for label in range(10):
        splits[order[labels[order] == label][:TEST_PER_CLASS]] = "test"
    return RawData(
        images=images,
        labels=labels,
        splits=splits,
        class_names=[str(label) for label in range(10)],
        sources=[FILE] * len(labels),
    )
