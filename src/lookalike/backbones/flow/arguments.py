"""The settings beside the authors' weights: a pickled `argparse.Namespace`, read as nothing else."""

from __future__ import annotations

import argparse
import io
import pickle
from pathlib import Path
from typing import Any

from lookalike.core.errors import LookalikeError


class _NamespaceReader(pickle.Unpickler):
    """Numbers, texts, lists and one class; a file that names any other is refused before anything of it is run."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("argparse", "Namespace"):
            return argparse.Namespace
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def read_arguments(path: Path) -> dict[str, Any]:
    """The settings in an args.pickle.

    Raises:
        LookalikeError: The file cannot be read, or holds anything but settings.
    """
    try:
        content = _NamespaceReader(io.BytesIO(path.read_bytes())).load()
    except Exception as error:  # a damaged file raises many kinds
        raise LookalikeError(f"{path} is no file of settings ({error}); take it away or fetch it again.") from None
    if not isinstance(content, argparse.Namespace):
        raise LookalikeError(f"{path} is no file of settings (it holds a {type(content).__name__}); take it away.")
    return vars(content)
