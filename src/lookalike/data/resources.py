"""Small files that ship with the project, in workflow/resources: ImageNet's clean ids, ReaL labels, WordNet ids."""

from __future__ import annotations

import ast
import gzip
import json
from functools import cache
from pathlib import Path

from lookalike.core.errors import LookalikeError

FOLDER = Path(__file__).parents[3] / "workflow" / "resources" / "imagenet"


@cache
def real_labels() -> list[list[int]]:
    """ReaL labels (Beyer et al., arXiv 2006.07159): element i lists the classes of validation image i + 1."""
    labels: list[list[int]] = json.loads(_text("imagenet_real.json.gz"))
    return labels


@cache
def wnids() -> list[str]:
    """The 1,000 WordNet ids in the order of class indices."""
    return _text("imagenet_wnids.txt.gz").split()


@cache
def published_clean_ids() -> tuple[int, ...]:
    """Numbers of the 44,424 published clean validation images, in the published order."""
    return tuple(parse_ids(_text("imagenet_clean_ids.txt.gz")))


def image_number(name: str) -> int:
    """43933 of `ILSVRC2012_val_00043933.JPEG`.

    Raises:
        LookalikeError: The name has another form.
    """
    number = Path(name).stem.removeprefix("ILSVRC2012_val_")
    if not number.isdecimal():
        raise LookalikeError(f"{name!r} is no name of a validation image such as ILSVRC2012_val_00000001.JPEG.")
    return int(number)


def parse_ids(text: str) -> list[int]:
    """Image numbers of a list: one number or file name a line, or the original's one Python list of file names.

    Raises:
        LookalikeError: An entry is no number and no name of a validation image.
    """
    entries = ast.literal_eval(text) if text.lstrip().startswith("[") else text.split()
    numbers = [str(entry).removeprefix("ILSVRC2012_val_").partition(".")[0] for entry in entries]
    wrong = [number for number in numbers if not number.isdecimal()]
    if wrong:
        raise LookalikeError(f"a list of image ids holds {wrong[0]!r}, which is no validation image.")
    return [int(number) for number in numbers]


def _text(name: str) -> str:
    path: Path = FOLDER / name
    try:
        return gzip.decompress(path.read_bytes()).decode()
    except FileNotFoundError:
        raise LookalikeError(f"{path} is missing; run from a clone of the project, which ships it.") from None
    except (OSError, EOFError) as error:
        raise LookalikeError(f"{path} is damaged ({error}); restore it from the repository.") from None
