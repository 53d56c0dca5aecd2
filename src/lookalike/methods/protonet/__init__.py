"""Prototypical networks on a random memory (Snell et al., NeurIPS 2017): a rival of Memory Wrap.

`head` is the mathematics, torch alone.
"""
