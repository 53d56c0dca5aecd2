"""Memory Wrap: a decision by training images of which most weigh nothing.

La Rosa, Capobianco and Nardi, arXiv 2106.01440 (2021), and Applied Intelligence (2022). `layer` and `sparsemax` (the
mathematics, torch alone), `attribution` (integrated gradients), `counterfactuals` (how plausible they are), `scores`
and `metrics` (how good explanations are), `classifier`, `settings`, `analyses`, `drawing`.
"""

# Ways to rank memory images, to choose an example for a query; and how they are called in print.
RANKINGS = {"memory": "weight", "knn": "kNN*", "twin": "twin", "random": "random"}
