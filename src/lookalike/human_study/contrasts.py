"""Conditions compared: tests of all pairs, and of those that differ in the explanation alone."""

from __future__ import annotations

import warnings
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import sparse, stats

from lookalike.core.errors import LookalikeError
from lookalike.human_study.cells import DRAWS, Cell, drawn_cell, resampled
from lookalike.human_study.responses import CONDITIONS, Responses, by_session
from lookalike.metrics.statistics import LEVEL

SUBSAMPLES = 100
Z = float(stats.norm.ppf((1 + LEVEL) / 2))


def is_clean(first: str, second: str) -> bool:
    """Whether two conditions show the same queries and the same answers, and differ in the explanation alone."""
    return CONDITIONS[first] == CONDITIONS[second]


def compare_conditions(responses: Responses, tested: str, random: np.random.Generator) -> list[Cell]:
    """All pairs of conditions by what their sessions score.

    Two-sided Mann-Whitney U, normal approximation with tie and continuity correction, as published; Holm's correction
    over the pairs, Cliff's delta and the mean difference with 95 % intervals. Where persons hold several sessions, also
    the difference with persons as clusters, and the test on each person's first session.

    Args:
        responses: Responses of the study.
        tested: Column of `by_session` that sessions are compared by. Of balanced accuracy the authors took the mean of
            100 random subsamples a session instead of its expectation; p has the interval of that procedure.
        random: Draws the subsamples.
    """
    from statsmodels.stats.multitest import multipletests

    scores = by_session(responses.trials)[tested].round(9)  # equal means must tie, whatever their last bit
    if scores.isna().any():
        raise LookalikeError(
            f"session {scores.index[scores.isna()][0]} has no trial with a right AI, or none with a wrong one; write "
            "tested: accuracy, or exclude it."
        )
    table = responses.sessions.assign(score=responses.sessions.session.map(scores))
    several = table.person.duplicated().any()
    drawn = _subsampled(responses.trials, random) if tested == "balanced_accuracy" else None
    sizes = table.condition.value_counts()
    pairs = list(combinations([name for name in responses.conditions() if sizes[name] > 1], 2))
    numbers, p_values = [], []
    for first, second in pairs:
        part = table[table.condition.isin([first, second])]
        a, b = (part[part.condition == name].score.to_numpy() for name in (first, second))
        row, n = f"{first} vs {second}", len(part)
        p_values.append(_mann_whitney(a, b))
        delta, low, high = cliffs_delta(a, b)
        welch = stats.ttest_ind(a, b, equal_var=False).confidence_interval(LEVEL)
        chance: np.ndarray = np.zeros(0)
        if drawn is not None:
            halves = (drawn.loc[part.session[part.condition == name]].to_numpy() for name in (first, second))
            chance = stats.mannwhitneyu(*halves, alternative="two-sided", method="asymptotic", axis=0).pvalue
        numbers += [
            drawn_cell("contrasts", row, "p", p_values[-1], chance, "p", n),
            Cell("contrasts", row, "cliffs_delta", delta, "delta", low=low, high=high, n=n),
            Cell(
                "contrasts",
                row,
                "difference",
                100 * (a.mean() - b.mean()),
                "points",
                low=100 * welch.low,
                high=100 * welch.high,
                n=n,
            ),
        ]
        if several:
            numbers += _by_person(part, first, second, row)
    corrected = multipletests(p_values, method="holm")[1] if pairs else []
    for (first, second), p, holm in zip(pairs, p_values, corrected, strict=True):
        row = f"{first} vs {second}"
        numbers += [
            Cell("contrasts", row, "p_holm", float(holm), "p"),
            Cell("contrasts", row, "significant", float(p <= 1 - LEVEL), "listed"),
            Cell("contrasts", row, "clean", float(is_clean(first, second)), "listed"),
        ]
    return numbers


def _subsampled(trials: pd.DataFrame, random: np.random.Generator) -> pd.DataFrame:
    """Balanced accuracy as the authors took it, many times over: session -> (DRAWS,).

    One time is the mean of 100 subsamples, each all trials of the rarer kind and as many of the other.
    """
    counts = trials.groupby(["session", "ai_correct"]).correct.agg(["sum", "count"]).unstack()
    right, n = counts["sum"].to_numpy(), counts["count"].to_numpy()  # (S, 2)
    least = n.min(1)
    total = np.zeros((DRAWS, *right.shape), np.int64)
    for _ in range(SUBSAMPLES):  # all at once would take a gigabyte
        total += random.hypergeometric(
            right, n - right, least[:, None], size=total.shape
        )  # the rarer kind is all taken
    mean = total / SUBSAMPLES / least[:, None]  # (draws, S, 2)
    return pd.DataFrame(mean.mean(2).T.round(9), index=counts.index)


def _mann_whitney(a: np.ndarray, b: np.ndarray) -> float:
    return float(stats.mannwhitneyu(a, b, alternative="two-sided", method="asymptotic").pvalue)


def cliffs_delta(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Cliff's delta, 2 U / (n_a n_b) - 1, and its 95 % interval (Feng and Cliff, 2004: asymmetric, never beyond 1).

    Args:
        a: (n_a,).
        b: (n_b,).
    """
    wins = np.sign(a[:, None] - b[None, :])  # (n_a, n_b)
    delta, n, m = float(wins.mean()), len(a), len(b)
    rows, columns = wins.mean(1) - delta, wins.mean(0) - delta
    spread = (m**2 * (rows**2).sum() + n**2 * (columns**2).sum() - ((wins - delta) ** 2).sum()) / (
        n * m * (n - 1) * (m - 1)
    )
    variance = max(spread, (1 - delta**2) / (n * m - 1))
    half = Z * np.sqrt(variance) * np.sqrt((1 - delta**2) ** 2 + Z**2 * variance)
    scale = 1 - delta**2 + Z**2 * variance
    if scale == 0:  # no overlap at all
        return delta, delta, delta
    return delta, float((delta - delta**3 - half) / scale), float((delta - delta**3 + half) / scale)


def _by_person(part: pd.DataFrame, first: str, second: str, row: str) -> list[Cell]:
    """The same pair with persons as clusters, and on each person's first session of the whole study."""
    import statsmodels.api as sm

    design = sm.add_constant((part.condition == first).to_numpy(np.float64))
    fitted = sm.OLS(100 * part.score.to_numpy(), design).fit(
        cov_type="cluster", cov_kwds={"groups": pd.factorize(part.person)[0]}
    )
    low, high = fitted.conf_int(1 - LEVEL)[1]
    alone = part[part.first_session]
    a, b = (alone[alone.condition == name].score.to_numpy() for name in (first, second))
    persons = part.person.nunique()
    return [
        Cell("contrasts", row, "difference_by_person", fitted.params[1], "points", low=low, high=high, n=persons),
        Cell("contrasts", row, "p_by_person", float(fitted.pvalues[1]), "p", n=persons),
        Cell("contrasts", row, "p_first_session", _mann_whitney(a, b), "p", n=len(alone)),
    ]


def compare_clean(responses: Responses, random: np.random.Generator) -> list[Cell]:
    """Pairs that differ in the explanation alone, on the same queries: mixed model, crossed bootstrap, d', criterion.

    The model is: right = condition + person + query, the last two random and crossed, fitted by restricted maximum
    likelihood. The bootstrap draws persons and queries independently (Owen, 2007, The pigeonhole bootstrap, which is
    conservative), the same queries for both conditions, those where the AI is right and where it is wrong apart.
    """
    numbers = []
    for plain, boxed in combinations(responses.conditions(), 2):
        if not is_clean(plain, boxed):
            continue
        trials = responses.trials[responses.trials.condition.isin([plain, boxed])].reset_index(drop=True)
        weights = crossed_weights(trials, random)
        treated = (trials.condition == boxed).to_numpy()
        for name, kept in _subsets(trials).items():
            row, part = f"{boxed} vs {plain}, {name}", trials[kept]
            right = part.correct.to_numpy(np.float64)
            difference = right[treated[kept]].mean() - right[~treated[kept]].mean()
            drawn = _weighted(right, weights[:, kept], treated[kept]) - _weighted(
                right, weights[:, kept], ~treated[kept]
            )
            numbers.append(drawn_cell("clean_contrasts", row, "bootstrap", difference, drawn, "points", len(part), 100))
            numbers += _mixed_model(part, boxed, row)
        ours, theirs = (_sensitivity(trials, weights, group) for group in (treated, ~treated))
        for name, (a, drawn_a), (b, drawn_b) in zip(("d_prime", "criterion"), ours, theirs, strict=True):
            row = f"{boxed} vs {plain}, all"
            numbers.append(drawn_cell("clean_contrasts", row, name, a - b, drawn_a - drawn_b, "z", len(trials)))
    return numbers


def measure_sensitivity(responses: Responses, random: np.random.Generator) -> list[Cell]:
    """Signal detection by condition: acceptances where the AI is right (hits) and wrong (false alarms).

    d' = z(hits) - z(false alarms) says how well people tell right answers from wrong ones; criterion
    -(z(hits) + z(false alarms)) / 2 how reluctant they are to accept any. Rates are pooled over trials, half a trial
    added to either kind; intervals from drawing persons and queries.
    """
    numbers = []
    for condition in responses.conditions():
        trials = responses.trials[responses.trials.condition == condition].reset_index(drop=True)
        weights, every = crossed_weights(trials, random), np.ones(len(trials), bool)
        for name, right in (("accepts_right", True), ("accepts_wrong", False)):
            kept = (trials.ai_correct == right).to_numpy()
            accepted = trials.accepted.to_numpy(np.float64)[kept]
            drawn = _weighted(accepted, weights[:, kept], every[kept])
            numbers.append(
                drawn_cell("sensitivity", condition, name, accepted.mean(), drawn, "%", int(kept.sum()), 100)
            )
        for name, (value, drawn) in zip(("d_prime", "criterion"), _sensitivity(trials, weights, every), strict=True):
            numbers.append(drawn_cell("sensitivity", condition, name, value, drawn, "z", len(trials)))
    return numbers


def crossed_weights(trials: pd.DataFrame, random: np.random.Generator) -> np.ndarray:
    """How often a draw of persons (by condition) and queries (by whether the AI is right) has a trial: (draws, N)."""
    weights: np.ndarray = np.ones((1, 1))
    for unit, strata in (("person", "condition"), ("query", "ai_correct")):
        units = trials.groupby([strata, unit])
        strata_of = units.first().index.get_level_values(0)
        drawn = [resampled(random, int((strata_of == stratum).sum())) for stratum in strata_of.unique()]
        weights = weights * np.concatenate(drawn, axis=1)[:, units.ngroup().to_numpy()]
    return weights


def _weighted(values: np.ndarray, weights: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Weighted mean of the kept values, one a draw; nan where a draw has none."""
    total = weights[:, kept].sum(1)
    return np.divide(weights[:, kept] @ values[kept], total, out=np.full(len(total), np.nan), where=total > 0)


def _sensitivity(
    trials: pd.DataFrame, weights: np.ndarray, kept: np.ndarray
) -> tuple[tuple[float, np.ndarray], tuple[float, np.ndarray]]:
    """Sensitivity d' and criterion of the kept trials, and of each draw of them."""
    accepted, right = (trials[name].to_numpy() for name in ("accepted", "ai_correct"))
    stacked = np.vstack([np.ones((1, len(trials))), weights])  # the trials themselves first
    z = []
    for kind in (right & kept, ~right & kept):
        rate = (stacked[:, kind & accepted].sum(1) + 0.5) / (stacked[:, kind].sum(1) + 1)
        z.append(stats.norm.ppf(rate))
    d_prime, criterion = z[0] - z[1], -(z[0] + z[1]) / 2
    return (d_prime[0], d_prime[1:]), (criterion[0], criterion[1:])


def _subsets(trials: pd.DataFrame) -> dict[str, np.ndarray]:
    right = trials.ai_correct.to_numpy()
    return {"all": np.ones(len(trials), bool), "AI right": right, "AI wrong": ~right}


def _mixed_model(trials: pd.DataFrame, treated: str, row: str) -> list[Cell]:
    """Effect of a condition, persons and queries random and crossed; a variance of 0 is a valid estimate."""
    from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

    names, matrices = [], []
    for unit in ("person", "query"):
        codes, levels = pd.factorize(trials[unit])
        ones = np.ones(len(codes))
        matrices.append([sparse.csr_matrix((ones, (np.arange(len(codes)), codes)))])
        names.append([[str(level) for level in levels]])
    design = np.stack([np.ones(len(trials)), trials.condition == treated], 1).astype(np.float64)
    model = MixedLM(
        100 * trials.correct.to_numpy(np.float64),
        design,
        groups=np.zeros(len(trials)),
        exog_vc=VCSpec(["person", "query"], names, matrices),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a variance that is 0
        fitted = model.fit(reml=True, method="powell")  # gradients cost ten times as much, and fail near 0
    if not fitted.converged:
        raise LookalikeError(f"the mixed model of {row} did not converge; look at that pair's trials.")
    effect, error = float(fitted.fe_params[1]), float(fitted.bse_fe[1])
    return [
        Cell(
            "clean_contrasts",
            row,
            "mixed_model",
            effect,
            "points",
            low=effect - Z * error,
            high=effect + Z * error,
            n=len(trials),
        ),
        Cell("clean_contrasts", row, "mixed_model_p", float(2 * stats.norm.sf(abs(effect / error))), "p"),
    ]
