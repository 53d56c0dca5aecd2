"""Human-AI teams: the AI decides where it is sure, people judge the rest."""

from __future__ import annotations

import random as python_random
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lookalike.human_study.cells import DRAWS, UNKNOWN, Cell, drawn_cell, share_cell
from lookalike.human_study.contrasts import crossed_weights
from lookalike.human_study.responses import CONDITIONS, Outputs, Responses

GRID = 5  # percent between thresholds: 0, 5, ..., 100
LEVELS = 100 // GRID + 1
SPLIT_SEED = 42  # the authors', whose splits and thresholds it gives
AVERAGED = ("ResNet-50", "kNN", "EMD-Corr", "CHM-Corr")


@dataclass(frozen=True)
class Split:
    """A pool in two parts.

    Attributes:
        tuning: (levels, 2) images by confidence, in steps of 5 %, and whether the AI is wrong or right.
        rest: The same of the other images.
        threshold: Confidence in percent, tuned on the first part; the AI accepts from it on.
        threshold_strict: The same where it accepts above the threshold only, as one of the authors' programs does.
        hits_strict: Right decisions on the rest by the latter.
    """

    tuning: np.ndarray
    rest: np.ndarray
    threshold: int
    threshold_strict: int
    hits_strict: int


def tune(outputs: dict[str, Outputs], tuning_images: int) -> dict[str, Split]:
    """A threshold a classifier, on a random part of the pool.

    One `random.seed(42)`, then for each classifier in turn a fresh list of all rows shuffled: the authors' splits.

    Args:
        outputs: Classifier -> its outputs, in the order of the released file.
        tuning_images: Number of images in the part that is tuned on.
    """
    shuffle = python_random.Random(SPLIT_SEED).shuffle
    splits = {}
    for name, output in outputs.items():
        rows = list(range(len(output.correct)))
        shuffle(rows)
        first, second = np.array(rows[:tuning_images]), np.array(rows[tuning_images:])
        tuning = _histogram(output, first)
        above = (output.percent[:, None] > GRID * np.arange(LEVELS)) == output.correct[:, None]  # (N, levels)
        strict = LEVELS - 1 - int(np.argmax(above[first].sum(0)[::-1]))
        splits[name] = Split(
            tuning,
            _histogram(output, second),
            GRID * int(best_level(tuning)),
            GRID * strict,
            int(above[second, strict].sum()),
        )
    return splits


def _histogram(outputs: Outputs, rows: np.ndarray) -> np.ndarray:
    cell = 2 * (outputs.percent[rows] // GRID) + outputs.correct[rows]
    return np.bincount(cell, minlength=2 * LEVELS).reshape(LEVELS, 2)


def verified(histogram: np.ndarray) -> np.ndarray:
    """Images on which "accept from a confidence of T on" decides rightly, for every T.

    Args:
        histogram: (..., levels, 2), last wrong, right.

    Returns:
        (..., levels), T = 0, 5, ..., 100 %.
    """
    wrong, right = histogram[..., 0], histogram[..., 1]
    below = np.cumsum(wrong, -1) - wrong  # wrong ones under T, which are rejected
    return below + right[..., ::-1].cumsum(-1)[..., ::-1]


def best_level(histogram: np.ndarray) -> np.ndarray:
    """Index of the threshold with most right decisions; of equal ones the highest."""
    return LEVELS - 1 - np.argmax(verified(histogram)[..., ::-1], -1)


def form_teams(
    responses: Responses, outputs: dict[str, Outputs], tuning_images: int, random: np.random.Generator
) -> list[Cell]:
    """Accuracy of each condition's team, as published and as it should be estimated, with 95 % intervals.

    Published: team = s A + (1 - s) H, of the whole pool, with s = share from the threshold on, A = the AI's accuracy
    there, H = people's accuracy on their trials below it; gain = team - AI alone, the latter on the images that the
    threshold was not tuned on. On one common pool the gain is (1 - s)(H - W), W = share of wrong answers below the
    threshold. People saw right and wrong answers 1:1; reweighted, H' = W H(AI wrong) + (1 - W) H(AI right).
    Intervals: images of the pool, persons and queries are drawn anew; with the threshold fixed, and tuned in each draw.
    """
    splits = tune(outputs, tuning_images)
    numbers: list[Cell] = []
    points: dict[str, dict[str, float]] = {}
    for condition in responses.conditions():
        split = splits.get(CONDITIONS[condition])
        if split is None:
            continue
        trials = responses.trials[responses.trials.condition == condition].reset_index(drop=True)
        judged, drawn_judged = _judged(trials, random)
        drawn_tuning, drawn_rest = (_drawn(part, random) for part in (split.tuning, split.rest))
        level = split.threshold // GRID
        fixed = np.full(DRAWS, level)
        published = _team(split.tuning[None], split.rest[None], judged[None], np.array([level]))
        drawn = _team(drawn_tuning, drawn_rest, drawn_judged, fixed)
        tuned = _team(drawn_tuning, drawn_rest, drawn_judged, best_level(drawn_tuning))
        below = trials[trials.percent < split.threshold]
        rest = int(split.rest.sum())
        hits = int(verified(split.rest)[level])
        numbers += [
            Cell("team", condition, "threshold", split.threshold / 100, "confidence", n=tuning_images),
            share_cell("team", condition, "ai_alone", hits, rest),
            Cell("team", condition, "threshold_strict", split.threshold_strict / 100, "confidence", n=tuning_images),
            share_cell("team", condition, "ai_alone_strict", split.hits_strict, rest),
            Cell("team", condition, "human_trials", len(below), "count"),
            Cell("team", condition, "human_trials_ai_right", int(below.ai_correct.sum()), "count"),
        ]
        for name, value in published.items():
            unit = "points" if name.startswith("gain") else "%"
            n = len(below) if name.startswith("human") else 0
            numbers.append(drawn_cell("team", condition, name, value[0], drawn[name], unit, n, 100))
            if name.startswith("gain"):
                numbers.append(drawn_cell("team", condition, f"{name}_tuned", value[0], tuned[name], unit, n, 100))
        alone = 100 * trials.correct.mean()
        beats = published["team"][0] * 100 > max(100 * hits / rest, alone)
        numbers.append(Cell("team", condition, "human_alone", alone, "%", n=len(trials)))
        numbers.append(Cell("team", condition, "complementary", float(beats), "listed"))
        points[condition] = {name: float(published[name][0]) for name in ("team", "gain", "ai_alone_drawn")}
    if all(name in points for name in AVERAGED):
        for name, column, unit in (
            ("team", "team", "%"),
            ("gain", "gain", "points"),
            ("ai_alone_drawn", "ai_alone", "%"),
        ):
            # Without an interval: the four are measured on the same images, and drawn apart.
            mean = float(np.mean([points[condition][name] for condition in AVERAGED]))
            numbers.append(Cell("team", "average", column, 100 * mean, unit))
    return [cell for cell in numbers if cell.column != "ai_alone_drawn"]


def _drawn(histogram: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A part of the pool drawn anew: (draws, levels, 2)."""
    n = int(histogram.sum())
    flat = random.multinomial(n, histogram.ravel() / n, size=DRAWS)
    return flat.reshape(DRAWS, LEVELS, 2)


def _judged(trials: pd.DataFrame, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Trials by confidence, by whether the AI is right and whether the answer is: (levels, 2, 2), and of each draw."""
    cell = 4 * (trials.percent // GRID) + 2 * trials.ai_correct + trials.correct
    cells = np.eye(4 * LEVELS)[cell.to_numpy(np.int64)]  # (N, 4 levels)
    drawn = crossed_weights(trials, random) @ cells
    return cells.sum(0).reshape(LEVELS, 2, 2), drawn.reshape(-1, LEVELS, 2, 2)


def _team(tuning: np.ndarray, rest: np.ndarray, judged: np.ndarray, level: np.ndarray) -> dict[str, np.ndarray]:
    """All figures of teams.

    Args:
        tuning: (draws, levels, 2) images of the part that the threshold is tuned on.
        rest: (draws, levels, 2) the others.
        judged: (draws, levels, 2, 2) trials.
        level: (draws,) index of the threshold.
    """
    every, under = tuning + rest, np.arange(LEVELS) < level[:, None]  # (draws, levels)
    low = (every * under[..., None]).sum(1)  # (draws, 2): wrong, right below the threshold
    high = every.sum(1) - low
    seen = (judged * under[..., None, None]).sum(1)  # (draws, AI right?, answer right?)
    s, wrong_share = high.sum(1) / every.sum((1, 2)), _share(low[:, 0], low.sum(1))
    confident = _share(high[:, 1], high.sum(1))
    human = _share(seen[:, :, 1].sum(1), seen.sum((1, 2)))
    human_wrong, human_right = (_share(seen[:, kind, 1], seen[:, kind].sum(1)) for kind in (0, 1))
    alone = np.take_along_axis(verified(rest), level[:, None], 1)[:, 0] / rest.sum((1, 2))
    reweighted = wrong_share * human_wrong + (1 - wrong_share) * human_right
    team = s * confident + (1 - s) * human
    return {
        "ai_share": s,
        "ai_accuracy": confident,
        "human": human,
        "team": team,
        "gain": team - alone,
        "gain_one_pool": (1 - s) * (human - wrong_share),
        "human_reweighted": reweighted,
        "team_reweighted": s * confident + (1 - s) * reweighted,
        "gain_reweighted": (1 - s) * (reweighted - wrong_share),
        "ai_alone_drawn": alone,
    }


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(np.shape(whole), UNKNOWN), where=whole > 0)
