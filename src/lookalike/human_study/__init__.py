"""The human study: people judge whether a classifier is right, with and without an explanation.

`responses` (reading and checking), `accuracy`, `contrasts`, `team`, `classifiers` (the numbers), `cells` (a number with
its interval), `analysis` (all of them).
"""
