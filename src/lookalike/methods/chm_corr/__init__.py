"""CHM-Corr: candidates ordered by how alike corresponding patches are; CHMNet says which patches correspond.

Nguyen, Taesiri and Nguyen, NeurIPS 2022 (arXiv 2208.00780); Min, Kim and Cho (arXiv 2109.05221). `network` (CHMNet),
`convolution` and `kernels` (the mathematics, torch alone), `similarity`
(of two feature maps), `pairs` (training on annotated pairs), `classifier`, `settings`, `commands`.
"""

from typing import Literal

KernelKind = Literal["psi", "iso", "full"]
