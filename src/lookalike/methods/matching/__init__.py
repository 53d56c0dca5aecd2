"""Matching networks on a random memory (Vinyals et al., NeurIPS 2016): a rival of Memory Wrap.

`head` is the mathematics, torch alone.
"""
