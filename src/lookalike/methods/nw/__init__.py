"""The Nadaraya-Watson head and its classifier."""

from lookalike.methods.nw.head import NWHead, Support

__all__ = ["NWHead", "Support"]
