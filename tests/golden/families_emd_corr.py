"""Golden families of the visual-correspondence code: kNN."""

import numpy as np
import torch
from compare import close

from lookalike.methods.knn import vote
from lookalike.support.neighbours import nearest, normalise_rows

SHORTLIST = "shortlist50_ascending"


def check_knn(name: str, content: dict[str, np.ndarray]) -> None:
    train, query = (normalise_rows(torch.from_numpy(content[key])) for key in ("train", "query"))
    labels = torch.from_numpy(content["train_label"])
    close(query @ train.T, content["similarity"], 1e-6, what="similarity")

    size = content[SHORTLIST].shape[1]
    for block in (1 << 18, 7):  # whole, and streamed in blocks smaller than the shortlist
        values, rows = nearest(query, train, size, "inner_product", block)
        np.testing.assert_array_equal(rows.numpy()[:, ::-1], content[SHORTLIST])
        close(values, np.take_along_axis(content["similarity"], rows.numpy(), 1), 1e-6, what="values")

    voters = int(content["vote_k"])
    _, rows = nearest(query, train, voters, "inner_product")
    np.testing.assert_array_equal(rows.numpy(), content["top_k_best_first"])
    n_classes = int(labels.max()) + 1
    shares = vote(labels[rows], n_classes).numpy()
    np.testing.assert_array_equal(shares.argmax(1), content["pred"])
    np.testing.assert_array_equal(np.rint(shares.max(1) * voters), content["pred_count"])


FAMILIES = [
    (
        "knn_",
        ["train", "train_label", "query", "vote_k", "similarity", SHORTLIST, "top_k_best_first", "pred", "pred_count"],
        check_knn,
    )
]
