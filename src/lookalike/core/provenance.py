"""Where a result comes from: code, lock, versions, machine."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from lookalike.core.locks import private_folder

PACKAGE = Path(__file__).parents[1]
REPOSITORY = PACKAGE.parent.parent
# Declarations: a new row or key must not make every run out of date. What one says reaches the workflow as a value.
DECLARATIONS = frozenset(
    {
        "lookalike.backbones.registry",
        "lookalike.contracts.analysis",
        "lookalike.contracts.citations",
        "lookalike.contracts.report",
        "lookalike.data.registry",
        "lookalike.methods.registry",
        "lookalike.study.human_studies",
        "lookalike.study.model",
    }
)
RECORDED = ("torch", "numpy", "lightning-fabric", "faiss-cpu", "scikit-learn", "pyarrow", "safetensors")


def is_declaration(module: str) -> bool:
    """Whether a module only declares: a table of names, or the keys of a study."""
    return module in DECLARATIONS or module.endswith(".settings")


def code_hash(modules: Iterable[str]) -> str:
    """Hex digest (12 characters) of the modules and all of this package that they import.

    Comments, docstrings, blank lines and layout do not count, so that only a change that can change a result
    makes a run out of date. Imports are followed statically, those inside functions included.

    Args:
        modules: Dotted names within `lookalike`.
    """
    return _hash_of(tuple(modules))


@cache  # every job of the workflow asks, for one of a few combinations
def _hash_of(modules: tuple[str, ...]) -> str:
    with _Parsed() as parsed:
        reached: dict[str, str] = {}
        waiting = list(modules)
        while waiting:
            name = waiting.pop()
            if name not in reached and not is_declaration(name):
                imported, reached[name] = parsed.module(name)
                waiting.extend(imported)
    lines = (f"{name} {code}\n" for name, code in sorted(reached.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()[:12]


def _file(name: str) -> Path | None:
    path = PACKAGE.joinpath(*name.split(".")[1:])
    if path.is_dir():
        return path / "__init__.py"
    path = path.with_suffix(".py")
    return path if path.exists() else None


class _Parsed:
    """What modules import and the hash of their code, kept in a file from one process to the next.

    Parsing all modules takes a second, which every call of the workflow would wait for. A module counts as unchanged
    while its file has the same size and times of change.
    """

    memory: ClassVar[dict[str, tuple[list[str], str]]] = {}
    stored: ClassVar[dict[str, Any] | None] = None

    def __enter__(self) -> _Parsed:
        self.is_new = False
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        path = self._path()
        if self.is_new and path is not None:
            with contextlib.suppress(OSError), tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
                json.dump(_Parsed.stored, file)
                os.replace(file.name, path)

    @staticmethod
    @cache
    def _path() -> Path | None:
        """The file, for this place of the code; None where there is no folder for it."""
        how = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()  # other code may hash otherwise
        place = hashlib.sha256(f"{PACKAGE} {sys.version} {how}".encode()).hexdigest()[:16]
        try:
            return Path(private_folder()) / f"code-{place}.json"
        except OSError:
            return None

    def module(self, name: str) -> tuple[list[str], str]:
        """Modules of this package that one imports, and the hash of its code."""
        if name not in _Parsed.memory:
            _Parsed.memory[name] = self._looked_up(name)
        return _Parsed.memory[name]

    def _looked_up(self, name: str) -> tuple[list[str], str]:
        path, store = _file(name), self._path()
        assert path is not None, name
        if _Parsed.stored is None:
            _Parsed.stored = _read_json(store) if store is not None else {}
        status = path.stat()
        state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        entry = _Parsed.stored.get(name)
        if not isinstance(entry, dict) or entry.get("state") != state:
            imported, code = _parse(path.read_text(encoding="utf-8"))
            entry = _Parsed.stored[name] = {"state": state, "imports": imported, "code": code}
            self.is_new = True
        # What a package holds may have changed where the module has not.
        return [module for module in entry["imports"] if _file(module)], entry["code"]


def _read_json(path: Path) -> dict[str, Any]:
    """A stored table; an empty one where there is none, or a damaged one."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _parse(text: str) -> tuple[list[str], str]:
    """Names of this package that a module imports, type-checking blocks left out; and the hash of its code.

    The code is its syntax tree without docstrings: neither comments nor layout are part of it.
    """
    tree = ast.parse(text)
    imported: list[str] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        waiting.extend(ast.iter_child_nodes(node))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            node.body = node.body[1:] or [ast.Pass()]
    ours = [name for name in imported if name.startswith("lookalike.")]
    return ours, hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def git_state() -> dict[str, Any]:
    """Commit and whether the working tree differs from it; both None outside a repository."""

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(REPOSITORY), *arguments], capture_output=True, text=True, timeout=20
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    return {"commit": commit, "dirty": None if commit is None else bool(git("status", "--porcelain"))}


def lock_hash() -> str | None:
    """Digest of requirements.lock, where the package runs from its repository."""
    lock = REPOSITORY / "requirements.lock"
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:16] if lock.exists() else None


def environment() -> dict[str, Any]:
    """Versions, machine and SLURM job of this process."""
    return {
        "git": git_state(),
        "lock": lock_hash(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in RECORDED},
        "platform": platform.platform(),
        "host": socket.gethostname(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }
