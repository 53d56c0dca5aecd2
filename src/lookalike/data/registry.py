"""The data sets, one row each. Data sources are a table, not code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataSet:
    """One data set version.

    Attributes:
        version: of the prepared form; raise it when the reader's result changes.
        reader: module whose `read()` gives a `RawData`.
        classes: number of classes.
        train: training images, known before anything is fetched.
        test: test images.
        image_shape: (channels, height, width).
        licence: of the images.
        source: where they come from.
        sha256: of the source file.
        manual: whether a person must fetch it.
    """

    version: str
    reader: str
    classes: int
    train: int
    test: int
    image_shape: tuple[int, int, int]
    licence: str
    source: str
    sha256: str
    manual: bool = False

    @property
    def prepared_bytes(self) -> int:
        """Size of the prepared images."""
        channels, height, width = self.image_shape
        return (self.train + self.test) * channels * height * width


DATA_SETS = {
    "digits": DataSet(
        version="1",
        reader="lookalike.data.digits",
        classes=10,
        train=1297,
        test=500,
        image_shape=(1, 8, 8),
        licence="CC BY 4.0",
        source="scikit-learn's wheel: UCI Optical Recognition of Handwritten Digits (Alpaydin and Kaynak, 1998)",
        sha256="09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
    ),
}
