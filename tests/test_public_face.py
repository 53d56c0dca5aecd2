"""What a library user may rely on: names, signatures, examples, and that torch and numpy are enough."""

import importlib
import inspect
import subprocess
import sys

import pytest

from lookalike.pipeline.check import PUBLIC, check_examples

# Every package that the library user need not have.
HEAVY = (
    *("snakemake", "mlflow", "pandas", "pyarrow", "sklearn", "faiss", "pydantic", "matplotlib", "seaborn", "scipy"),
    *("torchvision", "lightning_fabric", "yaml", "typer", "rich", "safetensors", "PIL", "statsmodels", "jinja2"),
)
# A change here is a change for users: intend it, and write it into docs/decisions.
SIGNATURES = {
    "lookalike.BaselineMemory": (
        "(encoder_output_dim: 'int', output_dim: 'int', classifier: 'nn.Module | None' = None, "
        "distance: 'str' = 'cosine') -> 'None'"
    ),
    "lookalike.GaussianPrototypes": (
        "(classes: 'int', components: 'int', latent: 'tuple[int, int, int]', "
        "kind: 'PrototypeKind' = 'diagonal') -> 'None'"
    ),
    "lookalike.MatchingHead": "(dim: 'int', n_classes: 'int', reads: 'int' = 2) -> 'None'",
    "lookalike.MemoryWrapLayer": (
        "(encoder_output_dim: 'int', output_dim: 'int', classifier: 'nn.Module | None' = None, "
        "distance: 'str' = 'cosine') -> 'None'"
    ),
    "lookalike.NWHead": (
        "(n_classes: 'int', kernel: 'Kernel' = 'euclidean', temperature: 'float' = 1.0, "
        "learn_temperature: 'bool' = False, floor: 'float' = 0.0) -> 'None'"
    ),
    "lookalike.PrototypicalHead": "(n_classes: 'int') -> 'None'",
    "lookalike.metrics.adaptive_ece": "(confidence: 'np.ndarray', correct: 'np.ndarray', bins: 'int' = 15) -> 'float'",
    "lookalike.metrics.auroc": "(inside: 'np.ndarray', outside: 'np.ndarray') -> 'float'",
    "lookalike.metrics.brier": "(squared_distances: 'np.ndarray') -> 'float'",
    "lookalike.metrics.ece": "(confidence: 'np.ndarray', correct: 'np.ndarray', bins: 'int' = 15) -> 'float'",
    "lookalike.metrics.fpr95": "(inside: 'np.ndarray', outside: 'np.ndarray') -> 'float'",
    "lookalike.metrics.nll": "(log_prob: 'np.ndarray') -> 'float'",
    "lookalike.metrics.temperature": "(log_probs: 'np.ndarray', labels: 'np.ndarray') -> 'float'",
    "lookalike.explain.Explanation": (
        "(query: 'int', label: 'int', predicted: 'int', confidence: 'float', mode: 'str', "
        "probabilities: 'list[float]', exemplars: 'list[Exemplar]' = <factory>, "
        "attribution: 'Map | None' = None, completeness_error: 'float | None' = None, "
        "grid: 'list[int] | None' = None, nearest: 'list[Exemplar]' = <factory>, "
        "prototypes: 'list[PrototypeMatch]' = <factory>) -> None"
    ),
    "lookalike.explain.integrated_gradients": (
        "(embed: 'Callable[[Tensor], Tensor]', layer: 'MemoryWrapLayer | BaselineMemory', query: 'Tensor', "
        "memory: 'Tensor', target: 'int', baseline: 'Tensor', steps: 'int' = 40, "
        "shared: 'int' = 1) -> 'Attribution'"
    ),
    "lookalike.explain.support_influence": (
        "(weights: 'Tensor', support_labels: 'Tensor', query_labels: 'Tensor', "
        "probabilities: 'Tensor | None' = None) -> 'Tensor'"
    ),
    "lookalike.rerank.CHMNet": "(kind: 'KernelKind', inputs: 'int', channels: 'int') -> 'None'",
    "lookalike.rerank.chm_similarity": (
        "(query: 'Tensor', exemplars: 'Tensor', chmnet: 'CHMNet', threshold: 'float' = 0.55, "
        "scale: 'Tensor | float' = 1.0) -> 'Tensor'"
    ),
    "lookalike.rerank.emd_similarity": (
        "(query: 'Tensor', exemplars: 'Tensor', uniform: 'bool' = False, entries: 'int | None' = 5) -> 'Tensor'"
    ),
}


def public_names() -> list[tuple[str, str]]:
    return [(face, name) for face in PUBLIC for name in importlib.import_module(face).__all__ if name != "__version__"]


def signature(face: str, name: str) -> str:
    return str(inspect.signature(getattr(importlib.import_module(face), name)))


def test_public_names_and_signatures() -> None:
    assert {f"{face}.{name}": signature(face, name) for face, name in public_names()} == SIGNATURES


def test_all_load_with_torch_and_numpy_alone() -> None:
    """In a process where no other package can be imported at all."""
    imports = "; ".join(f"from {face} import {name}" for face, name in public_names())
    code = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r})); {imports}; print('all')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "all", done.stderr


def test_examples_run() -> None:
    assert check_examples(PUBLIC) == len(SIGNATURES)


def test_an_unknown_name_is_an_attribute_error() -> None:
    import lookalike

    with pytest.raises(AttributeError, match="module 'lookalike' has no attribute 'Nothing'"):
        _ = lookalike.Nothing
