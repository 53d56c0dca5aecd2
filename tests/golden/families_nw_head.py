"""Golden files of the NW head: kernels, whole networks, training steps, clusters, influence, calibration.

Not compared: a likelihood with smoothed labels, which this project has not, and all of a batched call for influence but
its diagonal, which mixes queries.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from compare import close
from golden_file import Arrays, Family, GoldenFile, Method
from torch import Tensor, nn

from lookalike.contracts.backbone import Backbone
from lookalike.contracts.features import Features
from lookalike.distances.centroids import class_centroids, closest_rows
from lookalike.distances.neighbours import nearest
from lookalike.methods.nw import Kernel
from lookalike.methods.nw.classifier import UPSTREAM_FLOOR as FLOOR
from lookalike.methods.nw.classifier import NWClassifier
from lookalike.methods.nw.head import CLIP_LOGIT_SCALE, NWHead, Support
from lookalike.methods.nw.influence import support_influence
from lookalike.methods.nw.kernels import kernel_scores
from lookalike.methods.nw.sampling import balanced_rows, rows_per_class, upstream_draw
from lookalike.methods.nw.settings import NWSettings
from lookalike.metrics.calibration import ece, nll
from lookalike.metrics.classification import accuracy

DISTANCES = ("euclidean", "hypersphere_euclidean")
NORMED = ("hypersphere_euclidean", "cosine", "clip")


def our_kernel(name: str) -> Kernel:
    """This project's word for a kernel of the original."""
    return "dot" if name == "dotproduct" else name


# Kernels ------------------------------------------------------------------------------------------


def check_kernels(file: GoldenFile) -> None:
    for name in file.cases(".scores64"):
        check_scores(file, name)
        for form in ("shared", "perq"):
            check_log_probs(file, name, form)


def support_of(file: GoldenFile, form: str) -> tuple[Tensor, Tensor]:
    """Features and labels of one support for all queries, or of one support a query."""
    ending = "" if form == "shared" else "_per_query"
    return file.tensor(f"support{ending}"), file.tensor(f"support_labels{ending}")


def equal_pairs(file: GoldenFile, name: str) -> np.ndarray:
    """(B, N) pairs whose distance is exactly 0 and which the original rounds to as much as 8e-3."""
    exact = file[f"{name}.scores64"]
    return (np.abs(exact) < 1e-6) & ("selfmatch" in file.name and name in DISTANCES)


def check_scores(file: GoldenFile, name: str) -> None:
    head = NWHead(file.number("n_classes"), our_kernel(name))
    query, support = file.tensor("query"), file.tensor("support")
    pairs = equal_pairs(file, name)
    scores = head.scores(query, support).detach().numpy()
    assert np.abs(scores[pairs]).max(initial=0) <= 1e-6, "equal vectors are apart"
    file.close(f"{name}.scores", scores, 2e-5, 1e-5, where=~pairs)
    close(scores[~pairs], file[f"{name}.scores64"][~pairs], 2e-5, 1e-5, what=f"{name} scores")
    for form, key in (("shared", "scores64"), ("perq", "scores_per_query64")):
        scale = torch.tensor(CLIP_LOGIT_SCALE, dtype=torch.float64)
        exact = kernel_scores(our_kernel(name), query.double(), support_of(file, form)[0].double(), scale).T
        stored = file.result(f"{name}.{key}", exact)
        close(exact, stored, np.where(np.abs(stored) < 1e-6, 1e-6, 1e-6 if name == "clip" else 1e-9), what=key)
    loose = bool(pairs.any()) or name == "dotproduct"
    file.close(f"{name}.weights", head.weights(query, support), 1e-4 if loose else 1e-5)


def check_log_probs(file: GoldenFile, name: str, form: str) -> None:
    key = f"{name}.{form}"
    query = file.tensor("query").requires_grad_()
    support, labels = support_of(file, form)
    support.requires_grad_()
    head = NWHead(file.number("n_classes"), our_kernel(name), floor=FLOOR)
    log_probs = head(query, support, labels)
    loss = F.nll_loss(log_probs, file.tensor("targets"))
    loss.backward()

    pairs = equal_pairs(file, name) & (form == "shared")
    gradient = 1e-4
    if pairs.any():
        file.close(f"{key}.logprobs", log_probs, 1e-2)
        file.close(f"{key}.loss", loss, 1e-2)
        exact = torch.from_numpy(np.where(pairs, 0, file[f"{name}.scores64"]))
        close(log_probs, NWHead(head.n_classes, floor=FLOOR).from_scores(exact, labels), 2e-5, 1e-5, what=key)
        gradient = 2e-3
    elif name == "dotproduct":
        largest = np.abs(file[f"{name}.scores64" if form == "shared" else f"{name}.scores_per_query64"]).max()
        file.close(f"{key}.logprobs", log_probs, 2e-4, 1e-6, largest)
        file.close(f"{key}.loss", loss, 2e-4, 1e-6, largest)
        gradient = 1e-3
    else:
        file.close(f"{key}.logprobs", log_probs, 2e-5, 1e-5)
        file.close(f"{key}.loss", loss, 2e-5)

    for rows, part in ((query, "grad_query"), (support, "grad_support")):
        assert bool(torch.isfinite(rows.grad).all()), f"{key} {part} is not finite"
        # The original returns values near 1e10 for zero vectors.
        longer = (rows.detach().norm(dim=-1) > 0).numpy() | (name not in NORMED)
        file.close(f"{key}.{part}", rows.grad, 1e-7, gradient, where=longer)
    if head.logit_scale is not None:
        file.close(f"{key}.grad_logit_scale", head.logit_scale.grad, 1e-4, 1e-4)


def exact_scores(query: np.ndarray, support: np.ndarray) -> Arrays:
    """Scores (B, N) of all kernels in float64, from supports (B, N, D)."""
    query, support = query.astype(np.float64)[:, None], support.astype(np.float64)
    unit, others = (rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12) for rows in (query, support))
    cosine = (unit * others).sum(-1)
    return {
        "euclidean": -np.linalg.norm(query - support, axis=-1),
        "hypersphere_euclidean": -np.linalg.norm(unit - others, axis=-1),
        "cosine": cosine,
        "dotproduct": (query * support).sum(-1),
        "clip": cosine / 0.07,
    }


def example_kernels() -> dict[str, Arrays]:
    files = {}
    for name, queries, rows, width, classes in (
        ("wide", 3, 17, 21, 3),
        ("edge_b", 5, 9, 3, 4),
        ("selfmatch_b", 4, 7, 6, 2),
    ):
        random = np.random.RandomState(rows)
        query, support = (random.randn(n, width).astype(np.float32) for n in (queries, rows))
        own_support = random.randn(queries, rows, width).astype(np.float32)
        labels = random.randint(0, classes - (name == "edge_b"), rows)
        if name == "edge_b":  # no row of the last class; equal rows, and zeros on both sides
            support[0], query[1], support[1], support[3] = query[0], 0, 0, support[2]
        if name == "selfmatch_b":
            query, support = query + 3, np.concatenate([query, support[queries:]]) + 3
        files[f"kernels_{name}"] = {
            "query": query,
            "support": support,
            "support_labels": labels,
            "support_per_query": own_support,
            "support_labels_per_query": random.randint(0, classes, (queries, rows)),
            "targets": np.arange(queries)[::-1] % classes,
            "n_classes": np.array(classes),
            **{f"{k}.scores64": v for k, v in exact_scores(query, support[None]).items()},
            **{f"{k}.scores_per_query64": v for k, v in exact_scores(query, own_support).items()},
        }
    return files


# Whole network ------------------------------------------------------------------------------------


class Linear(Backbone):
    """Flatten, then a linear layer with the stored weights."""

    def __init__(self, file: GoldenFile) -> None:
        super().__init__()
        weight, bias = file.tensor("weight"), file.tensor("bias")
        self.dim = len(weight)
        self.layer = nn.Linear(weight.shape[1], self.dim)
        self.layer.load_state_dict({"weight": weight, "bias": bias})

    def feature_map(self, images: Tensor) -> Tensor:
        raise AssertionError("a flat network has no map")

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images.flatten(1))


def network_of(file: GoldenFile, compat: str | None) -> NWClassifier:
    projected = "proj_weight" in file
    entry: dict[str, Any] = {
        "method": "nw",
        "kernel": our_kernel(file.number("kernel")),
        "proj_dim": len(file["proj_weight"]) if projected else 0,
        "compat": compat,
        "inference": {
            "n_random": file.number("n_shot_random"),
            "n_clusters": file.number("n_shot_cluster"),
            "n_neighbors": file.number("n_neighbors"),
            "n_shot_full": file.number("n_shot_full"),
        },
    }
    model = NWClassifier(NWSettings.model_validate(entry), Linear(file), file.number("n_classes")).eval()
    if projected:
        model.projection.load_state_dict({"weight": file.tensor("proj_weight"), "bias": file.tensor("proj_bias")})
    return model


@torch.no_grad()
def check_net(file: GoldenFile) -> None:
    model = network_of(file, "upstream")
    labels, environments = file.tensor("labels"), file.tensor("env")
    queries, features = model.embed(file.tensor("queries")), model.embed(file.tensor("images"))
    file.close("query_features", queries, 1e-5)

    file.equal("full_indices", balanced_rows(labels, environments, file.number("n_shot_full")))
    model.build_support(Features(features, labels, environments, torch.arange(len(labels))), seed=0)
    store = model.support_tensors()
    file.close("full_features", store["features"], 1e-5)
    for key, part in (("full_labels", "labels"), ("full_env", "environments"), ("full_indices", "ids")):
        file.equal(key, store[part])
    centroids = file.result("cluster_features", store["centroids"])
    if file.number("n_shot_cluster") == 1:
        close(store["centroids"], centroids, 1e-5, what="cluster_features")
    file.equal("cluster_labels", store["centroid_labels"])
    model.load_support({**store, "centroids": torch.from_numpy(centroids)})

    for mode in ("full", "cluster", "ensemble", "knn", "hnsw"):
        file.close(f"{mode}.logprobs", model.predict(Features.unlabelled(queries), mode).log_probs, 1e-4)
        single = [model.predict(Features.unlabelled(query[None]), mode).log_probs for query in queries]
        file.close(f"{mode}.logprobs_single", torch.cat(single), 1e-4)
    check_corrected(file, model, queries)
    check_random_support(file, model, queries)
    first = model.neighbours(queries[:1], "knn")[0]
    file.close("knn.first_query_features", store["features"][first], 1e-5)
    file.equal("knn.first_query_labels", store["labels"][first])
    if file.holds("neighbors"):
        distance = torch.cdist(queries, store["features"], compute_mode="donot_use_mm_for_euclid_dist")
        ranked = nearest(queries, store["features"], distance.shape[1], "l2")[1]
        stored = torch.from_numpy(file.result("neighbors", ranked))
        close(distance.gather(1, ranked), distance.gather(1, stored), 1e-5, what="neighbors")
        equal_rows = stored.sort(1).values == torch.arange(stored.shape[1])
        assert bool(equal_rows.all()), "a ranking holds each row once"

    support = Support.of(store["features"], store["labels"])
    weights = model.head.weights(queries, support)
    exact = NWHead(model.n_classes, model.head.kernel)
    exact.load_state_dict(model.head.state_dict())
    probabilities = exact(queries, support).exp()
    file.close("influence.weights", weights, 1e-5)
    file.close("influence.probs", probabilities, 1e-5)
    truth = file.tensor("query_labels")
    of_truth = probabilities.gather(1, truth[:, None]).squeeze(1)
    check_influence_of(file, "influence.values", weights, store["labels"], truth, of_truth)

    full = model.predict(Features.unlabelled(queries), "full")
    correct = full.predicted() == truth.numpy()
    file.close("ece15", [ece(full.log_probs.exp().amax(1).numpy(), correct)], 1e-5)
    file.close("accuracy", accuracy(correct), 1e-5)
    file.close("nll_full", nll(full.log_probs.gather(1, truth[:, None]).numpy()), 1e-5, 1e-5)


def check_corrected(file: GoldenFile, upstream: NWClassifier, queries: Tensor) -> None:
    """A batch gives what the original gives query by query, whose neighbours are Euclidean, not the kernel's."""
    model = network_of(file, None)
    model.load_support(upstream.support_tensors())
    euclidean = model.head.kernel == "euclidean"
    for mode in ("full", "cluster", "ensemble", "knn", "hnsw")[: 5 if euclidean else 3]:
        log_probs = (model.predict(Features.unlabelled(queries), mode).log_probs.exp() + FLOOR).log()
        file.close(f"{mode}.logprobs_single", log_probs, 1e-4)
    rows = upstream.neighbours(queries, "knn")  # Euclidean, one support a query
    store = upstream.support_tensors()
    file.close("knn.logprobs_single", upstream.head(queries, store["features"][rows], store["labels"][rows]), 1e-4)


def check_random_support(file: GoldenFile, model: NWClassifier, queries: Tensor) -> None:
    store, count = model.support_tensors(), file.number("n_shot_random")
    seeded = np.random.RandomState(file.number("random.numpy_seed"))
    rows = upstream_draw(seeded, store["labels"].numpy(), np.empty(0, np.int64), count, None)
    file.close("random.support_features", store["features"][rows], 1e-5)
    ours = rows_per_class(store["labels"], count, torch.Generator())
    file.equal("random.support_labels", store["labels"][ours])
    support, labels = file.tensor("random.support_features"), file.tensor("random.support_labels")
    file.close("random.logprobs", model.head(queries, support, labels), 1e-4)


def images_of(random: np.random.RandomState, labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Images of classes that are well apart."""
    middle = np.random.RandomState(1).randn(labels.max() + 1, *shape)
    return (middle[labels] + 0.7 * random.randn(len(labels), *shape)).astype(np.float32)


def example_nets() -> dict[str, Arrays]:
    files = {}
    for name, kernel, classes, environments, shape, options in (
        ("clip", "clip", 3, 1, (1, 2, 5), {"full": 4, "cluster": 1, "random": 3, "neighbors": 3}),
        ("euclidean_b", "euclidean", 2, 2, (2, 3, 3), {"full": 50, "cluster": 3, "random": 1, "neighbors": 7}),
        ("dot_projected", "dotproduct", 5, 3, (3, 4, 2), {"full": 2, "cluster": 2, "random": 2, "neighbors": 1}),
    ):
        random = np.random.RandomState(classes)
        labels = np.arange(60) * 7 % classes
        asked = np.arange(6) % classes
        width = 6 + classes
        files[f"net_{name}"] = {
            "images": images_of(random, labels, shape),
            "labels": labels,
            "env": np.arange(60) // 10 % environments,
            "queries": images_of(random, asked, shape),
            "query_labels": asked[::-1].copy(),
            "weight": (random.randn(width, np.prod(shape)) / 4).astype(np.float32),
            "bias": random.randn(width).astype(np.float32),
            "n_classes": np.array(classes),
            "kernel": np.array(kernel),
            "n_shot_full": np.array(options["full"]),
            "n_shot_cluster": np.array(options["cluster"]),
            "n_shot_random": np.array(options["random"]),
            "n_neighbors": np.array(options["neighbors"]),
            "random.numpy_seed": np.array(2000 + classes),
        }
        if name == "dot_projected":
            files[f"net_{name}"]["proj_weight"] = (random.randn(4, width) / 8).astype(np.float32)
            files[f"net_{name}"]["proj_bias"] = random.randn(4).astype(np.float32)
    return files


# Training step ------------------------------------------------------------------------------------


def check_train(file: GoldenFile) -> None:
    labels, rows = file["labels"], file["query_indices"]
    seeded = np.random.RandomState(file.number("numpy_seed"))
    drawn = upstream_draw(seeded, labels, labels[rows], file.number("n_shot"), file.number("n_way") or None)
    file.equal("support_indices", drawn)
    file.equal("query_labels", labels[rows])
    file.equal("support_labels", labels[drawn])

    linear = Linear(file)
    norm = nn.BatchNorm1d(linear.dim)
    features = norm(linear(file.tensor("images")[np.concatenate([rows, drawn])]))
    head = NWHead(file.number("n_classes"), floor=FLOOR)
    log_probs = head(features[: len(rows)], features[len(rows) :], file.tensor("support_labels"))
    loss = F.nll_loss(log_probs, file.tensor("query_labels"))
    loss.backward()
    file.close("logprobs", log_probs, 5e-5)
    file.close("loss", loss, 5e-5)
    file.equal("query_class_in_support", np.isin(labels[rows], labels[drawn]))
    for parameter, key in (
        (linear.layer.weight, "grad_weight"),
        (linear.layer.bias, "grad_bias"),
        (norm.weight, "bn_grad_weight"),
        (norm.bias, "bn_grad_bias"),
    ):
        file.close(key, parameter.grad, 1e-6, 1e-3)
    file.close("bn_running_mean", norm.running_mean, 1e-5)
    file.close("bn_running_var", norm.running_var, 1e-5)


def example_trainings() -> dict[str, Arrays]:
    files = {}
    for name, classes, shape, queries, shots, ways in (
        ("all_b", 3, (1, 2, 7), 6, 2, 0),
        ("way_b", 9, (2, 4, 3), 2, 3, 4),
    ):
        random = np.random.RandomState(queries)
        labels = np.arange(50) * 5 % classes
        files[f"train_{name}"] = {
            "images": images_of(random, labels, shape),
            "labels": labels,
            "query_indices": random.choice(50, queries, replace=False),
            "weight": random.randn(5, np.prod(shape)).astype(np.float32),
            "bias": random.randn(5).astype(np.float32),
            "n_classes": np.array(classes),
            "n_shot": np.array(shots),
            "n_way": np.array(ways),
            "numpy_seed": np.array(3000 + classes),
        }
    return files


# Clusters, influence, calibration -----------------------------------------------------------------


def check_clusters(file: GoldenFile) -> None:
    features, labels = file.tensor("features"), file.tensor("labels")
    for case in file.cases(".centroids"):
        k = int(case.removeprefix("k"))
        stored, classes = file.tensor(f"{case}.centroids"), file.tensor(f"{case}.labels")
        centroids, of_class = class_centroids(features, labels, k)
        file.equal(f"{case}.labels", of_class)
        apart = [
            torch.cdist(features[labels == label].double(), centroids[of_class == label].double())
            for label in labels.unique()
        ]
        inertia = np.array([float(distance.amin(1).square().sum()) for distance in apart])
        wanted = file.result(f"{case}.inertia", inertia)
        assert inertia.shape == wanted.shape
        assert np.isfinite(wanted).all()
        assert (inertia <= wanted * 1.001).all(), f"{case}: inertia {inertia}, stored {wanted}"
        if k == 1:
            close(inertia, wanted, 1e-6, 1e-5, what=f"{case}.inertia")
        for number, label in enumerate(labels.unique()):
            if k == 1 or abs(inertia[number] - wanted[number]) <= 1e-4 * wanted[number]:  # the same partition
                ours, theirs = centroids[of_class == label].double(), stored[classes == label].double()
                same = (ours[:, None] - theirs).abs().amax(2) <= (1e-5 if k == 1 else 1e-4)
                assert bool((same.any(0) & same.any(1)).all()), f"{case}, class {int(label)}: other centroids"
        closest = closest_rows(features, labels, stored, classes)
        file.equal(f"{case}.closest_indices", closest)
        file.close(f"{case}.closest_features", features[closest], 0)


def example_clusters() -> dict[str, Arrays]:
    random = np.random.RandomState(3)
    labels = np.repeat([0, 1, 2, 3], [9, 14, 6, 11])
    middle = 4 * random.randn(4, 2, 3)
    features = (middle[labels, np.arange(40) % 2] + random.randn(40, 3)).astype(np.float32)
    arrays = {"features": features, "labels": labels}
    for k in (1, 2, 4):
        centroids, classes = class_centroids(torch.from_numpy(features), torch.from_numpy(labels), k, seed=5)
        arrays |= {f"k{k}.centroids": centroids.numpy(), f"k{k}.labels": classes.numpy()}
    return {"clusters_mixed": arrays}


def check_influence_of(
    file: GoldenFile, key: str, weights: Tensor, labels: Tensor, truth: Tensor, of_truth: Tensor
) -> None:
    """Where the query's class has no weight at all the original gives NaN, and this project the limit."""
    influence, absent = support_influence(weights, labels, truth, of_truth), of_truth == 0
    close(influence[absent], torch.log1p(-weights)[absent], 1e-6, what=f"{key}, the limit")
    # The original subtracts: its 1 - w and p - w lose digits where one row has nearly all the weight.
    of_class = torch.where(labels == truth[:, None], weights / of_truth[:, None], 0)
    rounding = 2**-22 * (1 / (1 - weights) + 1 / (1 - of_class).clamp_min(1e-9)).nan_to_num()
    file.close(key, influence.masked_fill(absent[:, None], torch.nan), 1e-4 + rounding.numpy())


def check_influence(file: GoldenFile) -> None:
    weights, queries = file.tensor("weights"), file.tensor("query_labels")

    def of_truth(key: str) -> Tensor:
        return file.tensor(key).gather(1, queries[:, None]).squeeze(1)

    labels = file.tensor("support_labels")
    check_influence_of(file, "influence", weights, labels, queries, of_truth("probs"))
    check_influence_of(file, "loo_float64", weights, labels, queries, of_truth("probs"))
    labels, of_class = file.tensor("support_labels_batched"), of_truth("probs_batched")
    each = support_influence(weights, labels, queries, of_class).masked_fill((of_class == 0)[:, None], torch.nan)
    diagonal = np.arange(len(each))
    close(each, file["influence_batched_upstream"][diagonal, diagonal], 1e-4, what="diagonal of the batched call")
    assert file["probs"].shape[1] == file.number("n_classes")


def left_out(weights: np.ndarray, labels: np.ndarray, truth: int) -> np.ndarray:
    """(N,) log of the probability of the truth over that without each row, its weight shared by the others."""
    same = labels == truth
    rest = [np.delete(weights * same, row).sum() / (1 - weights[row]) for row in range(len(weights))]
    with np.errstate(all="ignore"):
        return np.log(weights[same].sum()) - np.log(rest)


def example_influence() -> dict[str, Arrays]:
    files = {}
    for name, queries, rows, classes in (("b", 3, 8, 4), ("c", 6, 15, 3)):
        random = np.random.RandomState(rows)
        weights = random.dirichlet(np.ones(rows), queries)
        labels = np.arange(rows) % (classes - 2)
        labels[-1] = classes - 2  # the only row of its class; the last class has none
        batched = (labels + np.arange(queries)[:, None]) % (classes - 1)
        truth = np.array([classes - 2, classes - 1, *random.randint(0, classes - 2, queries - 2)])
        probs, probs_batched = (
            np.stack([[row[each == c].sum() for c in range(classes)] for row, each in zip(weights, kinds, strict=True)])
            for kinds in (np.tile(labels, (queries, 1)), batched)
        )
        influence = np.stack([left_out(row, labels, label) for row, label in zip(weights, truth, strict=True)])
        each = np.stack(
            [[left_out(weights[b], batched[b], label) for b in range(queries)] for label in truth]
        ).swapaxes(0, 1)
        files[f"influence_{name}"] = {
            "weights": weights.astype(np.float32),
            "support_labels": labels,
            "query_labels": truth,
            "probs": probs.astype(np.float32),
            "n_classes": np.array(classes),
            "influence": influence.astype(np.float32),
            "loo_float64": influence,
            "support_labels_batched": batched,
            "probs_batched": probs_batched.astype(np.float32),
            "influence_batched_upstream": each.astype(np.float32),
        }
    return files


def check_calibration(file: GoldenFile) -> None:
    cases = file.cases(".probs")
    assert sum(case != "edges" for case in cases) == file.number("n_cases")
    for case in cases:
        probs, labels = file[f"{case}.probs"], file[f"{case}.labels"]
        correct = probs.argmax(1) == labels
        for key in [key for key in file if key.startswith(f"{case}.ece")]:
            file.close(key, [ece(probs.max(1), correct, int(key.removeprefix(f"{case}.ece")))], 1e-6)
        if file.holds(f"{case}.accuracy"):
            file.close(f"{case}.accuracy", accuracy(correct), 1e-6)
        if file.holds(f"{case}.nll"):
            file.close(f"{case}.nll", nll(np.log(probs[np.arange(len(labels)), labels])), 1e-6, 1e-6)


def example_calibration() -> dict[str, Arrays]:
    random = np.random.RandomState(7)
    arrays: Arrays = {"n_cases": np.array(2)}
    for case, count, classes, bins in (("c0", 21, 2, 7), ("c1", 80, 6, 20)):
        probs = random.dirichlet(np.ones(classes), count).astype(np.float32)
        labels = random.randint(0, classes, count)
        bin_of = np.ceil(probs.max(1) * bins)
        correct = probs.argmax(1) == labels
        gaps = [abs((probs.max(1) - correct)[bin_of == number].sum()) for number in range(1, bins + 1)]
        arrays |= {f"{case}.probs": probs, f"{case}.labels": labels, f"{case}.ece{bins}": np.array([sum(gaps) / count])}
    return {"ece_b": arrays}


METHOD = Method(
    (
        Family("kernels_*", check_kernels, example_kernels),
        Family("net_*", check_net, example_nets),
        Family("train_*", check_train, example_trainings),
        Family("clusters_*", check_clusters, example_clusters),
        Family("influence_*", check_influence, example_influence),
        Family("ece_*", check_calibration, example_calibration, ("*.smooth_nll_*",)),
    )
)
