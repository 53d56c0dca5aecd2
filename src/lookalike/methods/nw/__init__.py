"""The Nadaraya-Watson head: class probabilities are sums of soft-max weights over training images.

Wang and Sabuncu, TMLR 2023 (arXiv 2212.03411); Wang et al., NeurIPS 2023 (arXiv 2309.13377). `head` (the mathematics,
torch alone), `kernels`, `influence`, `sampling` (supports of training steps), `classifier`, `settings`, `drawing`.
"""

from typing import Literal

Kernel = Literal["euclidean", "hypersphere_euclidean", "cosine", "dot", "clip"]
