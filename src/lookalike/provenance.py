"""Where a result comes from: code, lock, versions, machine."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import os
import platform
import socket
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = Path(__file__).parent
REPOSITORY = PACKAGE.parent.parent
# Tables of names: a new row must not make every run out of date. What a row says reaches the workflow as settings.
TABLES = frozenset(
    {
        "lookalike.backbones.registry",
        "lookalike.data.registry",
        "lookalike.methods.registry",
        "lookalike.stages",
    }
)
RECORDED = ("torch", "numpy", "lightning-fabric", "faiss-cpu", "scikit-learn", "pyarrow", "safetensors")


def code_hash(modules: Iterable[str]) -> str:
    """Hex digest (12 characters) of the modules and all of this package that they import.

    Comments, docstrings, blank lines and layout do not count, so that only a change that can change a result
    makes a run out of date. Imports are followed statically, those inside functions included.

    Args:
        modules: dotted names within `lookalike`.
    """
    return _hash_of(tuple(modules))


@cache  # every job of the workflow asks, for one of a few combinations
def _hash_of(modules: tuple[str, ...]) -> str:
    hashed = hashlib.sha256()
    for name in sorted(_closure(modules)):
        hashed.update(f"{name}\n{_normalised(name)}\n".encode())
    return hashed.hexdigest()[:12]


def _closure(modules: tuple[str, ...]) -> set[str]:
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found and name not in TABLES:
            found.add(name)
            waiting.extend(_imports(name))
    return found


def _file(name: str) -> Path | None:
    path = PACKAGE.joinpath(*name.split(".")[1:])
    if path.is_dir():
        return path / "__init__.py"
    path = path.with_suffix(".py")
    return path if path.exists() else None


@cache
def _tree(name: str) -> ast.Module:
    path = _file(name)
    assert path is not None, name
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _imports(name: str) -> tuple[str, ...]:
    """Modules of this package that one module imports, type-checking blocks left out."""
    found: list[str] = []
    waiting: list[ast.AST] = [_tree(name)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        waiting.extend(ast.iter_child_nodes(node))
    ours = [name for name in found if name.startswith("lookalike.") and _file(name)]
    return tuple(ours)


@cache
def _normalised(name: str) -> str:
    """Source without comments, docstrings and layout."""
    tree = ast.parse(ast.unparse(_tree(name)))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
            and isinstance(body[0].value.value, str)
        ):
            node.body = body[1:] or [ast.Pass()]
    return ast.unparse(tree)


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
