"""The Nadaraya-Watson head: a query's class probabilities are sums of softmax weights over a support set.

Wang and Sabuncu, TMLR 2023 (arXiv 2212.03411), and NeurIPS 2023 (arXiv 2309.13377). For a query q and
support rows (s_i, y_i), w_i = softmax_i(k(q, s_i)) and p_c = sum of w_i over the rows of class c.

Two behaviours differ from the authors' code: log-probabilities are differences of log-sum-exps,
so a true class far from the query keeps its gradient (theirs are log(p + 1e-12)), and a distance between
equal vectors is exactly 0. `floor=1e-12` gives the authors' values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lookalike.core.finite import check_finite, is_finite, may_wait
from lookalike.distances.pairwise import squared_norms
from lookalike.methods.nw import Kernel
from lookalike.methods.nw.kernels import KERNELS, kernel_scores

CLIP_LOGIT_SCALE = math.log(1 / 0.07)
# Class sums are taken relative to the nearest row of all. Below this the float32 sum of a far class
# loses digits, and its log-sum-exp is taken relative to the class's own nearest row instead.
SMALLEST_SUM = 1e-30


def _add_by_class(values: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Sum (N, B) by class into (C, B); labels are (N,) shared or (N, B) per query."""
    sums = values.new_zeros(n_classes, values.shape[1])
    if labels.ndim == 1:
        return sums.index_add_(0, labels, values)
    return sums.scatter_add_(0, labels, values)


def _of_row(by_class: Tensor, labels: Tensor) -> Tensor:
    """(C, B) values of each row's class as (N, B)."""
    return by_class.index_select(0, labels) if labels.ndim == 1 else by_class.gather(0, labels)


def _exact_class_lse(shifted: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """(C, B) log-sum-exp of each class relative to its own largest score; -inf where a class is absent."""
    index = labels[:, None].expand_as(shifted) if labels.ndim == 1 else labels
    top = shifted.new_full((n_classes, shifted.shape[1]), -math.inf)
    top = top.scatter_reduce(0, index, shifted, "amax")
    sums = _add_by_class((shifted - _of_row(top, labels)).exp_(), labels, n_classes)
    return torch.where(top == -math.inf, top, top + sums.log())


class _ClassLogProbs(torch.autograd.Function):
    """log p_c = LSE_c - LSE with a backward pass of one exponential and one gather.

    All sums are relative to the query's largest score: scores of several hundred (dot products) would otherwise
    leave few digits to the difference of two logarithms.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, labels: Tensor, n_classes: int) -> Tensor:  # type: ignore[override]
        top = scores.amax(0)
        sums = _add_by_class((scores - top).exp_(), labels, n_classes)
        class_lse, total = sums.log(), sums.sum(0).log()
        if bool((sums < SMALLEST_SUM).any()):  # far, underflowed or absent classes
            class_lse = _exact_class_lse(scores - top, labels, n_classes)
        log_probs = class_lse - total
        ctx.save_for_backward(scores, top, labels, class_lse, log_probs)
        return log_probs

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        scores, top, labels, class_lse, log_probs = ctx.saved_tensors
        grad = grad.masked_fill(class_lse == -math.inf, 0)  # an absent class has no rows to move
        coefficient = grad - log_probs.exp() * grad.sum(0)  # (C, B)
        within = (scores - top).sub_(_of_row(class_lse, labels)).exp_()  # softmax inside the row's class
        return within.mul_(_of_row(coefficient, labels)), None, None


@dataclass(frozen=True)
class Support:
    """Support rows ready for many queries.

    Attributes:
        features: (N, D) of the support images.
        labels: (N,) int64.
        squared_norms: (N,) squared norms of the features, so that they are computed once.
        log_prior: (N,) logarithms added to every score, or None; see `class_balance`.
    """

    features: Tensor
    labels: Tensor
    squared_norms: Tensor
    log_prior: Tensor | None = None

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, log_prior: Tensor | None = None) -> Support:
        """Prepare features (N, D) and labels (N,)."""
        return cls(features, labels, squared_norms(features), log_prior)

    def split(self, n: int) -> list[Support]:
        """Consecutive blocks of n rows, sharing memory with this support."""
        return [self.rows(slice(start, start + n)) for start in range(0, len(self.labels), n)]

    def rows(self, rows: Tensor | slice) -> Support:
        """The support of some rows only, given by number or as a slice."""
        prior = None if self.log_prior is None else self.log_prior[rows]
        return Support(self.features[rows], self.labels[rows], self.squared_norms[rows], prior)


def class_balance(labels: Tensor, n_classes: int) -> Tensor:
    """(N,) log weights that make every class count the same, however many rows it has.

    Prior correction by 1 / (rows of the class): the expectation of the balanced subsets of the
    original, without throwing rows away.
    """
    return torch.bincount(labels, minlength=n_classes).float().log_().neg_()[labels]


class NWHead(nn.Module):
    """Nadaraya-Watson classification head (TMLR 2023, equations 1 to 3).

    Args:
        n_classes: Number of classes C.
        kernel: `euclidean`, `hypersphere_euclidean`, `cosine`, `dot` or `clip`.
        temperature: Number that scores are divided by. The original has none (1), which leaves `cosine` and
            `hypersphere_euclidean` nearly uniform.
        learn_temperature: Whether the logarithm of the temperature is trained.
        floor: Number added to probabilities before the logarithm. The original uses 1e-12, which stops the
            gradient of far classes; 0 is exact, and gives -inf to a class without support.

    Example:
        >>> import torch
        >>> from lookalike import NWHead
        >>> head = NWHead(n_classes=2)
        >>> support, labels = torch.tensor([[0.0], [1.0], [5.0]]), torch.tensor([0, 0, 1])
        >>> head(torch.tensor([[0.5]]), support, labels).exp().round(decimals=2)
        tensor([[0.9900, 0.0100]])
    """

    def __init__(
        self,
        n_classes: int,
        kernel: Kernel = "euclidean",
        temperature: float = 1.0,
        learn_temperature: bool = False,
        floor: float = 0.0,
    ) -> None:
        super().__init__()
        if kernel not in KERNELS:
            raise ValueError(f"kernel {kernel!r} is unknown; choose one of {', '.join(KERNELS)}")
        if temperature <= 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        self.n_classes = n_classes
        self.kernel: Kernel = kernel
        self.floor = floor
        log_temperature = torch.tensor(math.log(temperature))
        self.log_temperature: Tensor
        if learn_temperature:
            self.log_temperature = nn.Parameter(log_temperature)
        else:
            self.register_buffer("log_temperature", log_temperature, persistent=False)
        self._divides = learn_temperature or temperature != 1.0
        self.logit_scale = nn.Parameter(torch.tensor(CLIP_LOGIT_SCALE)) if kernel == "clip" else None

    def _scores(self, query: Tensor, support: Tensor | Support) -> Tensor:
        """(N, B) scores divided by the temperature, priors added."""
        features = support.features if isinstance(support, Support) else support
        norms = support.squared_norms if isinstance(support, Support) else None
        with torch.autocast(query.device.type, enabled=False):
            if query.dtype in (torch.float16, torch.bfloat16):
                query, features, norms = query.float(), features.float(), None
            scores = kernel_scores(self.kernel, query, features, self.logit_scale, norms)
            if self._divides:
                scores = scores * self.log_temperature.neg().exp()
            if isinstance(support, Support) and support.log_prior is not None:
                scores = scores + support.log_prior[:, None]
        if may_wait(scores, self.training):
            self._check(scores, query, features)
        return scores

    def _check(self, scores: Tensor, query: Tensor, features: Tensor) -> None:
        if not is_finite(scores):
            check_finite(query, "features of the queries", "query {}".format, "look at the network and its input")
            check_finite(features, "features of the support", remedy="look at the network and its input")
            remedy = "features are too large or the temperature too small: scale them"
            check_finite(scores, f"scores ({self.kernel})", remedy=remedy)

    def scores(self, query: Tensor, support: Tensor | Support) -> Tensor:
        """(B, N) scores, larger = closer."""
        return self._scores(query, support).T

    def weights(self, query: Tensor, support: Tensor | Support) -> Tensor:
        """(B, N) softmax weights of the support rows."""
        return self._scores(query, support).softmax(0).T

    def from_scores(self, scores: Tensor, labels: Tensor) -> Tensor:
        """(B, C) log-probabilities from (B, N) scores and labels (N,) or (B, N)."""
        columns = labels if labels.ndim == 1 else labels.T.contiguous()
        log_probs: Tensor = _ClassLogProbs.apply(scores.T, columns, self.n_classes)
        if self.floor:
            log_probs = (log_probs.exp() + self.floor).log()
        return log_probs.T

    def forward(self, query: Tensor, support: Tensor | Support, labels: Tensor | None = None) -> Tensor:
        """Log-probabilities of the classes.

        Args:
            query: (B, D) features.
            support: (N, D) features shared by the batch, (B, N, D) with one support a query, or a `Support`.
            labels: (N,) or (B, N) integer classes; left out when `support` is a `Support`.

        Returns:
            (B, C) log-probabilities, in float32 for half-precision features.

        Raises:
            ValueError: The support is empty, labels and support do not fit, or a number is not finite.
        """
        if isinstance(support, Support):
            labels, shape = support.labels, tuple(support.features.shape[:-1])
        else:
            shape = tuple(support.shape[:-1])
        if labels is None or tuple(labels.shape) != shape:
            given = "none" if labels is None else tuple(labels.shape)
            raise ValueError(f"labels must have shape {shape} like the support rows, not {given}")
        if shape[-1] == 0:
            raise ValueError("the support is empty; give at least one row")
        return self.from_scores(self.scores(query, support), labels)

    @torch.no_grad()
    def stream(self, query: Tensor, blocks: Iterable[Support]) -> Tensor:
        """Log-probabilities for a support that does not fit in memory.

        A running largest score (B,) and class sums (C, B), rescaled when the largest grows, are all that is
        kept: the result equals `forward` on the joined blocks. Blocks of 2,048 to 4,096 rows are fastest.

        Args:
            query: (B, D) features.
            blocks: Parts of the support. They are iterated a second time, in exact arithmetic, when a class
                lies too far for plain sums: give a sequence, or an object that can be iterated anew.

        Returns:
            (B, C) log-probabilities.

        Raises:
            ValueError: The blocks are empty.
        """
        sums = query.new_zeros(self.n_classes, len(query), dtype=torch.promote_types(query.dtype, torch.float32))
        top = sums.new_full((len(query),), -math.inf)
        present = torch.zeros(self.n_classes, dtype=torch.bool, device=query.device)
        for block in blocks:
            scores = self._scores(query, block)
            block_top = scores.amax(0)
            if bool((block_top > top).any()):
                raised = torch.maximum(top, block_top)
                sums *= (top - raised).exp_()
                top = raised
            sums.index_add_(0, block.labels, scores.sub_(top).exp_())
            present[block.labels] = True
        if not bool(present.any()):
            raise ValueError("the support is empty; give at least one row")
        class_lse, total = sums.log(), sums.sum(0).log()
        if bool((sums[present] < SMALLEST_SUM).any()):
            class_lse.fill_(-math.inf)
            for block in blocks:
                shifted = self._scores(query, block) - top
                block_lse = _exact_class_lse(shifted, block.labels, self.n_classes)
                class_lse = torch.logaddexp(class_lse, block_lse)
        log_probs = class_lse - total
        return ((log_probs.exp() + self.floor).log() if self.floor else log_probs).T
