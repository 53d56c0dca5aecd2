"""Lookalike: classifiers that explain a prediction by training images that look like the query.

The heads need torch and numpy only; everything else loads when it is used.
"""

from lookalike.methods.nw.head import NWHead

__version__ = "0.1.0"
__all__ = ["NWHead", "__version__"]
