"""What a prototype means: pictures of it, images between two of them, and how much each is worth.

A picture is the inverse of latents, the halves that the flow drops on its way at 0,
their mode.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lookalike.backbones.flow.dense_flow import DenseFlow
from lookalike.contracts.explanation import Explanation, PrototypeMatch, build_explanations
from lookalike.contracts.features import Features
from lookalike.methods.protoflow.prototypes import responsibilities

if TYPE_CHECKING:
    from lookalike.methods.protoflow.classifier import ProtoFlowClassifier

PICTURES_AT_ONCE = 256
SHOWN_PROTOTYPES = 3


@torch.no_grad()
def pictures(flow: DenseFlow, latents: Tensor, dropped: list[Tensor] | None = None) -> Tensor:
    """Images (N, C, H, W) uint8 of latents (N, D).

    Args:
        flow: The flow in evaluation; its batch statistics would tie pictures to each other.
        latents: (N, D) latents of the last scale.
        dropped: Halves (N, ...) left behind, first one first; their mode without.
    """
    device = next(flow.parameters()).device
    halves = dropped or [torch.zeros(len(latents), *shape) for shape in flow.dropped_shapes()]
    parts = []
    for rows in torch.arange(len(latents)).split(PICTURES_AT_ONCE):
        z = latents[rows].view(-1, *flow.out_shape).to(device)
        decoded = flow.decode(z, [half[rows].to(device) for half in halves])
        parts.append(flow.to_pixels(decoded).to(torch.uint8).cpu())
    return torch.cat(parts)


def sample_pictures(
    model: ProtoFlowClassifier, classes: int, temperatures: tuple[float, ...], generator: torch.Generator
) -> Tensor:
    """A sample of every prototype at several temperatures, (classes, K, T, channels, H, W) uint8.

    Temperatures multiply the standard deviations, of the dropped halves too; the noise is the same at each.
    """
    flow, means = model.backbone.flow, model.prototypes.means().detach()[:classes]
    deviations = (model.prototypes.log_vars().detach()[:classes] / 2).exp()
    noise = torch.randn(means.shape, generator=generator)
    halves = [
        torch.randn(*means.shape[:2], *shape, generator=generator).flatten(0, 1) for shape in flow.dropped_shapes()
    ]
    of_each = [
        pictures(flow, (means + t * deviations * noise).flatten(0, 1), [t * half for half in halves])
        for t in temperatures
    ]
    return torch.stack(of_each, 1).unflatten(0, means.shape[:2])


def between(model: ProtoFlowClassifier, pairs: list[tuple[tuple[int, int], tuple[int, int]]], steps: int) -> Tensor:
    """Pictures on the straight way between latents of two prototypes, (P, steps, channels, H, W) uint8.

    Args:
        model: The classifier.
        pairs: Class and component of the first and of the last picture of each pair.
        steps: Pictures of each pair, both ends included.
    """
    means = model.prototypes.means().detach()
    ends = torch.stack([torch.stack([means[first], means[last]]) for first, last in pairs])  # (P, 2, D)
    share = torch.linspace(0, 1, steps)[None, :, None]
    latents = ends[:, :1] * (1 - share) + ends[:, 1:] * share
    return pictures(model.backbone.flow, latents.flatten(0, 1)).unflatten(0, (len(pairs), steps))


def pruning_order(usage: Tensor) -> Tensor:
    """(N, 2) class and component of the prototypes to leave out, the least used first; each class keeps its best one.

    Args:
        usage: (C, K) mean responsibility over the training images of the class.
    """
    removable = usage.scatter(1, usage.argmax(1, keepdim=True), torch.inf)
    order = removable.flatten().argsort(stable=True)
    order = order[: usage.numel() - len(usage)]
    return torch.stack([order // usage.shape[1], order % usage.shape[1]], 1)


def pruned_accuracy(model: ProtoFlowClassifier, queries: Features, points: int) -> Tensor:
    """Accuracy with fewer prototypes, (points, 2): prototypes kept, share of right answers.

    Args:
        model: The classifier with its support.
        queries: Embedded queries.
        points: How many numbers of prototypes to try, from all to one a class.
    """
    usage = model.usage
    order, (rest, ldj) = pruning_order(usage), model.draws(queries)
    rows, done = [], 0
    for without in torch.linspace(0, len(order), min(points, len(order) + 1)).round().long().unique().tolist():
        gone = order[done:without]
        rest[..., gone[:, 0], gone[:, 1]] = -torch.inf
        done = without
        hits = (model.log_probs_of(rest, ldj).argmax(1) == queries.labels).double().mean()
        rows.append(torch.stack([torch.tensor(float(usage.numel() - without), dtype=torch.float64), hits]))
    return torch.stack(rows)


def explain_queries(model: ProtoFlowClassifier, queries: Features, mode: str) -> list[Explanation]:
    """Records with the prototypes that queries look most like, of all classes, the best first."""
    prediction, joint = model.predict(queries, mode), model.joint(queries)  # (B, C, K)
    within = responsibilities(joint)
    weights = prediction.log_probs.exp()[:, :, None] * within
    _, components = joint.shape[1:]
    best = weights.flatten(1).topk(min(SHOWN_PROTOTYPES, weights[0].numel()), 1).indices  # (B, P)
    shown = best.unique()
    drawn = pictures(model.backbone.flow, model.prototypes.means().detach().flatten(0, 1)[shown])
    picture = dict(zip(shown.tolist(), drawn.permute(0, 2, 3, 1).tolist(), strict=True))
    none = torch.zeros(len(queries), 0)
    records = build_explanations(queries, prediction, mode, none.long(), none.long(), none)
    for row, record in enumerate(records):
        for place in best[row].tolist():
            label, component = divmod(place, components)
            record.prototypes.append(
                PrototypeMatch(
                    label=label,
                    component=component,
                    weight=float(weights[row, label, component]),
                    responsibility=float(within[row, label, component]),
                    log_density=float(joint[row, label, component]),
                    picture=picture[place],
                    nearest=model.nearest[label, component].tolist(),
                )
            )
    return records
