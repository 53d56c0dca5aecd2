"""Images as networks see them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lookalike.core.errors import LookalikeError
from lookalike.data.images import open_images
from lookalike.data.prepared import open_data
from lookalike.data.settings import ArraySettings


def test_normalization_of_the_study(digits: Path) -> None:
    mean, std = 0.25, 0.5
    settings = ArraySettings.model_validate({"source": "digits", "normalization": {"mean": [mean], "std": [std]}})
    data = open_data(digits, settings)
    pixels = torch.tensor(np.array(data.images[:3])).float() / 255
    torch.testing.assert_close(open_images(data, np.arange(3)).load(torch.arange(3)), (pixels - mean) / std)
    colours = {"mean": [mean] * 3, "std": [std] * 3}
    settings = ArraySettings.model_validate({"source": "digits", "normalization": colours})
    with pytest.raises(LookalikeError, match="normalization of digits has 3 channels, its images have 1"):
        open_data(digits, settings)
