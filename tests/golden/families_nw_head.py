"""Golden families of the NW head: kernels, whole networks, training steps, clusters, influence, ECE."""

import numpy as np
import torch
import torch.nn.functional as F
from compare import close, tensors
from torch import nn

from lookalike.backbones.base import Backbone
from lookalike.evaluation.metrics import ece
from lookalike.explanation.influence import support_influence
from lookalike.methods.base import Embedded
from lookalike.methods.nw.classifier import Model, Settings
from lookalike.methods.nw.head import NWHead, Support
from lookalike.methods.nw.kernels import KERNELS, kernel_scores
from lookalike.methods.nw.sampling import balanced_rows, rows_per_class, upstream_draw
from lookalike.support.centroids import class_centroids, closest_rows
from lookalike.support.neighbours import nearest

FLOOR = 1e-12
DISTANCES = ("euclidean", "hypersphere_euclidean")


# Kernels ------------------------------------------------------------------------------------------


def check_kernels(name: str, content: dict[str, np.ndarray]) -> None:
    data = tensors(content)
    for kernel in KERNELS:
        _scores(name, kernel, data, content)
        for form in ("shared", "perq"):
            _log_probs_and_gradients(name, kernel, form, data, content)


def _arguments(data, form: str):
    suffix = "_per_query" if form == "perq" else ""
    return data[f"support{suffix}"], data[f"support_labels{suffix}"]


def _scores(name, kernel, data, content) -> None:
    n_classes = int(content["n_classes"])
    scale = torch.tensor(1 / 0.07, dtype=torch.float64).log()
    head = NWHead(n_classes, kernel)
    query, support = data["query"], data["support"]
    found = head.scores(query, support).detach()
    exact = content[f"{kernel}.scores64"]
    exactly_zero = np.abs(exact) < 1e-6
    if name.endswith("selfmatch") and kernel in DISTANCES:
        assert (found.numpy()[exactly_zero] == 0).all(), "self-distance is not exactly 0"
        found = torch.where(torch.from_numpy(exactly_zero), 0, found)
        close(found, np.where(exactly_zero, 0, content[f"{kernel}.scores"]), 2e-5, 1e-5, what=f"{kernel} scores")
    else:
        reference = exact if kernel == "dotproduct" else content[f"{kernel}.scores"]
        close(found, reference, 2e-5, 1e-5, what=f"{kernel} scores")
    for form, key in (("shared", "scores64"), ("perq", "scores_per_query64")):
        stored = content[f"{kernel}.{key}"]
        found64 = kernel_scores(kernel, query.double(), _arguments(data, form)[0].double(), scale).T.numpy()
        allowed = np.where(np.abs(stored) < 1e-6, 1e-6, 1e-6 if kernel == "clip" else 1e-9)
        assert (np.abs(found64 - stored) <= allowed).all(), f"{kernel} {form} float64 scores"
    weights = head.weights(query, support)
    loose = name.endswith("selfmatch") and kernel in DISTANCES
    close(weights, content[f"{kernel}.weights"], 1e-4 if loose or kernel == "dotproduct" else 1e-5, what="weights")


def _log_probs_and_gradients(name, kernel, form, data, content) -> None:
    support, labels = _arguments(data, form)
    targets = data["targets"]
    query = data["query"].clone().requires_grad_()
    support = support.clone().requires_grad_()
    head = NWHead(int(content["n_classes"]), kernel, floor=FLOOR)
    log_probs = head(query, support, labels)
    loss = F.nll_loss(log_probs, targets)
    loss.backward()

    key, what = f"{kernel}.{form}", f"{kernel} {form}"
    stored = content[f"{key}.logprobs"]
    selfmatch = name.endswith("selfmatch") and form == "shared" and kernel in DISTANCES
    if selfmatch:
        close(log_probs, stored, 1e-2, what=what)
        close(loss, content[f"{key}.loss"], 1e-2, what=what)
        exact = torch.from_numpy(content[f"{kernel}.scores64"])
        exact = torch.where(exact.abs() < 1e-6, 0, exact)
        again = NWHead(head.n_classes, floor=FLOOR).from_scores(exact, labels)
        close(log_probs, again, 2e-5, 1e-5, what=f"{what} from float64 scores")
    elif kernel == "dotproduct":
        largest = np.abs(content["dotproduct.scores64" if form == "shared" else "dotproduct.scores_per_query64"]).max()
        close(log_probs, stored, 2e-4, 1e-6, largest, what=what)
        close(loss, content[f"{key}.loss"], 2e-4, 1e-6, largest, what=what)
    else:
        close(log_probs, stored, 2e-5, 1e-5, what=what)
        close(loss, content[f"{key}.loss"], 2e-5, what=what)

    relative = 2e-3 if selfmatch else 1e-3 if kernel == "dotproduct" else 1e-4
    normed = kernel in ("hypersphere_euclidean", "cosine", "clip")
    for tensor, part in ((query, "grad_query"), (support, "grad_support")):
        found, wanted = tensor.grad, content[f"{key}.{part}"]
        assert bool(torch.isfinite(found).all()), f"{what} {part} is not finite"
        keep = np.ones(wanted.shape[:-1], bool)
        if normed:  # the original returns values near 1e10 for zero vectors
            keep = np.linalg.norm(tensor.detach().numpy(), axis=-1) > 0
        close(found[torch.from_numpy(keep)], wanted[keep], 1e-7, relative, what=f"{what} {part}")
    if kernel == "clip":
        close(head.logit_scale.grad, content[f"{key}.grad_logit_scale"], 1e-4, 1e-4, what=f"{what} grad_logit_scale")


# Whole network ------------------------------------------------------------------------------------


class Linear(Backbone):
    """Flatten, then a linear layer with the stored weights."""

    def __init__(self, data) -> None:
        super().__init__()
        self.dim = data["weight"].shape[0]
        self.layer = nn.Linear(data["weight"].shape[1], self.dim)
        self.layer.weight.data, self.layer.bias.data = data["weight"], data["bias"]

    def feature_map(self, images):
        raise AssertionError("a flat network has no map")

    def forward(self, images):
        return self.layer(images.flatten(1))


def _network(content, data, compat: str) -> Model:
    entry = {
        "method": "nw",
        "kernel": str(content["kernel"]),
        "proj_dim": data["proj_weight"].shape[0] if "proj_weight" in data else 0,
        "compat": compat,
        "inference": {
            "n_random": int(content["n_shot_random"]),
            "n_clusters": int(content["n_shot_cluster"]),
            "n_neighbors": int(content["n_neighbors"]),
            "n_shot_full": int(content["n_shot_full"]),
        },
    }
    model = Model(Settings.model_validate(entry), Linear(data), int(content["n_classes"])).eval()
    if "proj_weight" in data:
        model.projection.weight.data, model.projection.bias.data = data["proj_weight"], data["proj_bias"]
    return model


def check_net(name: str, content: dict[str, np.ndarray]) -> None:
    data = tensors(content)
    model = _network(content, data, "upstream")
    with torch.no_grad():
        queries, features = model.embed(data["queries"]), model.embed(data["images"])
    close(queries, content["query_features"], 1e-5, what="query_features")

    rows = balanced_rows(data["labels"], data["env"], int(content["n_shot_full"]))
    np.testing.assert_array_equal(rows, content["full_indices"])
    ids = torch.arange(len(data["labels"]))
    model.build_support(Embedded(features, data["labels"], data["env"], ids), seed=0)
    store = model.support_tensors()
    close(store["features"], content["full_features"], 1e-5, what="full_features")
    np.testing.assert_array_equal(store["labels"], content["full_labels"])
    np.testing.assert_array_equal(store["environments"], content["full_env"])
    np.testing.assert_array_equal(store["ids"], content["full_indices"])
    if int(content["n_shot_cluster"]) == 1:
        close(store["centroids"], content["cluster_features"], 1e-5, what="centroids")
        np.testing.assert_array_equal(store["centroid_labels"], content["cluster_labels"])
    model.load_support({**store, "centroids": data["cluster_features"], "centroid_labels": data["cluster_labels"]})

    for mode in ("full", "cluster", "ensemble", "knn", "hnsw"):
        close(
            model.predict(Embedded.unlabelled(queries), mode).log_probs,
            content[f"{mode}.logprobs"],
            1e-4,
            what=f"{mode} batch",
        )
        single = torch.cat([model.predict(Embedded.unlabelled(query[None]), mode).log_probs for query in queries])
        close(single, content[f"{mode}.logprobs_single"], 1e-4, what=f"{mode} single")

    _check_corrected(content, data, model, queries)
    _check_random(content, data, model, queries)
    first = model.neighbours(queries[:1], "knn")[0]
    close(store["features"][first], content["knn.first_query_features"], 1e-5, what="neighbours")
    np.testing.assert_array_equal(store["labels"][first], content["knn.first_query_labels"])
    if "neighbors" in content:
        distance = torch.cdist(queries, store["features"], compute_mode="donot_use_mm_for_euclid_dist")
        _, ranked = nearest(queries, store["features"], distance.shape[1], "l2")
        stored = torch.from_numpy(content["neighbors"])
        close(distance.gather(1, ranked), distance.gather(1, stored), 1e-5, what="ranking")

    support = Support.of(store["features"], store["labels"])
    weights = model.head.weights(queries, support)
    probabilities = NWHead(model.n_classes, model.settings.kernel)
    probabilities.load_state_dict(model.head.state_dict())
    probabilities = probabilities(queries, support).exp()
    close(weights, content["influence.weights"], 1e-5, what="influence weights")
    close(probabilities, content["influence.probs"], 1e-5, what="influence probs")
    own = probabilities.gather(1, data["query_labels"][:, None]).squeeze(1)
    influence = support_influence(weights, store["labels"], data["query_labels"], own)
    close(influence, content["influence.values"], 1e-4, what="influence")

    full = model.predict(Embedded.unlabelled(queries), "full")
    predicted, labels = full.predicted(), content["query_labels"]
    confidence = full.log_probs.exp().max(1).values.detach().numpy()
    close(ece(confidence, predicted == labels), float(content["ece15"][0]), 1e-5, what="ece15")
    close((predicted == labels).mean(), content["accuracy"], 1e-5, what="accuracy")
    close(F.nll_loss(full.log_probs, data["query_labels"]), content["nll_full"], 1e-5, 1e-5, what="nll")


def _check_corrected(content, data, upstream: Model, queries) -> None:
    """Ours: a batch gives what the original gives query by query. Its neighbours are Euclidean, ours the kernel's."""
    model = _network(content, data, "corrected")
    model.load_support(upstream.support_tensors())
    modes = ["full", "cluster", "ensemble"] + ["knn", "hnsw"] * (model.settings.kernel == "euclidean")
    for mode in modes:
        found = (model.predict(Embedded.unlabelled(queries), mode).log_probs.exp() + FLOOR).log()
        close(found, content[f"{mode}.logprobs_single"], 1e-4, what=f"corrected {mode}")
    rows = upstream.neighbours(queries, "knn")  # Euclidean, one support a query
    store = upstream.support_tensors()
    own = upstream.head(queries, store["features"][rows], store["labels"][rows])
    close(own, content["knn.logprobs_single"], 1e-4, what="knn, one support a query")


def _check_random(content, data, model: Model, queries) -> None:
    close(
        model.head(queries, data["random.support_features"], data["random.support_labels"]),
        content["random.logprobs"],
        1e-4,
        what="random",
    )
    store = model.support_tensors()
    drawn = upstream_draw(
        np.random.RandomState(int(content["random.numpy_seed"])),
        store["labels"].numpy(),
        np.empty(0, np.int64),
        int(content["n_shot_random"]),
        None,
    )
    close(store["features"][drawn], content["random.support_features"], 1e-5, what="random draw")
    ours = rows_per_class(store["labels"], int(content["n_shot_random"]), torch.Generator())
    np.testing.assert_array_equal(store["labels"][ours], content["random.support_labels"])


# Training step ------------------------------------------------------------------------------------


def check_train(name: str, content: dict[str, np.ndarray]) -> None:
    data = tensors(content)
    n_way = int(content["n_way"]) or None
    labels, query_rows = content["labels"], content["query_indices"]
    drawn = upstream_draw(
        np.random.RandomState(int(content["numpy_seed"])),
        labels,
        labels[query_rows],
        int(content["n_shot"]),
        n_way,
    )
    np.testing.assert_array_equal(drawn, content["support_indices"])

    linear = Linear(data)
    norm = nn.BatchNorm1d(linear.dim)
    rows = torch.cat([data["query_indices"], data["support_indices"]])
    features = norm(linear(data["images"][rows]))
    count = len(query_rows)
    head = NWHead(int(content["n_classes"]), floor=FLOOR)
    log_probs = head(features[:count], features[count:], data["support_labels"])
    loss = F.nll_loss(log_probs, data["query_labels"])
    loss.backward()
    close(log_probs, content["logprobs"], 5e-5, what="logprobs")
    close(loss, content["loss"], 5e-5, what="loss")
    inside = np.isin(content["query_labels"], content["support_labels"])
    np.testing.assert_array_equal(inside, content["query_class_in_support"])
    for parameter, key in (
        (linear.layer.weight, "grad_weight"),
        (linear.layer.bias, "grad_bias"),
        (norm.weight, "bn_grad_weight"),
        (norm.bias, "bn_grad_bias"),
    ):
        close(parameter.grad, content[key], 1e-6, 1e-3, what=key)
    close(norm.running_mean, content["bn_running_mean"], 1e-5, what="running mean")
    close(norm.running_var, content["bn_running_var"], 1e-5, what="running var")


# Clusters, influence, ECE -------------------------------------------------------------------------


def check_clusters(name: str, content: dict[str, np.ndarray]) -> None:
    data = tensors(content)
    features, labels = data["features"], data["labels"]
    for k in sorted(int(key[1:].split(".")[0]) for key in content if key.endswith(".centroids")):
        stored, stored_labels = data[f"k{k}.centroids"], data[f"k{k}.labels"]
        found, of_class = class_centroids(features, labels, k)
        np.testing.assert_array_equal(of_class, stored_labels)
        for position, label in enumerate(labels.unique()):
            rows, ours = features[labels == label].double(), found[of_class == label].double()
            inertia = float(torch.cdist(rows, ours).min(1).values.square().sum())
            wanted = float(content[f"k{k}.inertia"][position])
            assert inertia <= wanted * 1.001, f"k={k}, class {int(label)}: inertia {inertia}, stored {wanted}"
            if k == 1 or abs(inertia - wanted) <= 1e-4 * wanted:
                gap = torch.cdist(ours, stored[stored_labels == label].double()).min(1).values.max()
                assert float(gap) <= (1e-5 if k == 1 else 1e-4) * np.sqrt(features.shape[1]), (
                    f"k={k}, class {int(label)}"
                )
        closest = closest_rows(features, labels, stored, stored_labels)
        np.testing.assert_array_equal(closest, content[f"k{k}.closest_indices"])
        close(features[closest], content[f"k{k}.closest_features"], 0, what="closest features")


def check_influence(name: str, content: dict[str, np.ndarray]) -> None:
    data = tensors(content)
    own = data["probs"].gather(1, data["query_labels"][:, None]).squeeze(1)
    labels, queries = data["support_labels"], data["query_labels"]
    found = support_influence(data["weights"], labels, queries, own)
    stored, exact = content["influence"], content["loo_float64"]
    known = ~np.isnan(stored)
    assert (np.isinf(found.numpy()) == np.isinf(stored))[known].all()
    finite = np.isfinite(stored)
    close(found.numpy()[finite], stored[finite], 1e-4, what="influence")
    close(found.numpy()[finite & np.isfinite(exact)], exact[finite & np.isfinite(exact)], 1e-4, what="leave one out")
    # The query's class has no weight: the original gives NaN, ours the limit.
    limit = torch.log1p(-data["weights"]).numpy()
    close(found.numpy()[~known], limit[~known], 1e-6, what="limit")
    # The original's batched call mixes queries; only its diagonal [b, b] is right.
    own = data["probs_batched"].gather(1, queries[:, None]).squeeze(1)
    found = support_influence(data["weights"], data["support_labels_batched"], queries, own)
    diagonal = np.stack([row[number] for number, row in enumerate(content["influence_batched_upstream"])])
    known = ~np.isnan(diagonal)
    close(found.numpy()[known], diagonal[known], 1e-4, what="diagonal of the batched call")


def check_ece(name: str, content: dict[str, np.ndarray]) -> None:
    cases = [f"c{number}" for number in range(int(content["n_cases"]))] + ["edges"] * ("edges.probs" in content)
    for case in cases:
        probs, labels = content[f"{case}.probs"], content[f"{case}.labels"]
        correct = probs.argmax(1) == labels
        for key in content:
            if key.startswith(f"{case}.ece"):
                found = ece(probs.max(1), correct, int(key.removeprefix(f"{case}.ece")))
                close(found, float(content[key][0]), 1e-6, what=key)
        if f"{case}.accuracy" in content:
            close(correct.mean(), content[f"{case}.accuracy"], 1e-6, what="accuracy")
        if f"{case}.nll" in content:
            own = np.log(probs[np.arange(len(labels)), labels])
            close(-own.mean(), content[f"{case}.nll"], 1e-6, 1e-6, what="nll")


KERNEL_KEYS = ["query", "support", "support_labels", "support_per_query", "support_labels_per_query", "targets"]
FAMILIES = [
    ("kernels_", [*KERNEL_KEYS, "n_classes", *(f"{kernel}.scores64" for kernel in KERNELS)], check_kernels),
    ("net_", ["images", "labels", "env", "queries", "weight", "bias", "kernel", "full_indices"], check_net),
    ("train_", ["images", "labels", "query_indices", "support_indices", "numpy_seed", "grad_weight"], check_train),
    ("clusters_", ["features", "labels"], check_clusters),
    ("influence_", ["weights", "support_labels", "query_labels", "probs", "influence", "loo_float64"], check_influence),
    ("ece_", ["n_cases"], check_ece),
]
