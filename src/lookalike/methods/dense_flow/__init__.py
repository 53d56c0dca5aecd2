"""DenseFlow alone: a flow trained to model images, from which a prototype classifier starts; it classifies nothing.

Grcić, Grubišić and Šegvić, NeurIPS 2021 (arXiv 2106.04627). The network itself is in `lookalike.backbones.flow`;
`metrics` has its bits per dimension.
"""
