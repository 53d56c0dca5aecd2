"""EMD-Corr: candidates ordered by optimal transport between patches.

Nguyen, Taesiri and Nguyen, NeurIPS 2022 (arXiv 2208.00780). `transport` (the mathematics, torch alone), `classifier`,
`settings`.
"""
