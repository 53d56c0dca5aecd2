"""ProtoFlow: class-conditional mixtures over the latents of an invertible network, whose components are prototypes.

Carmichael, Redgrave, Gonzalez Cedre and Scheirer, ECCV 2024 (arXiv 2407.12200). `prototypes` (the mixtures, torch
alone), `losses`, `initialisation`, `parameter_cache`, `interpret` (what a prototype means), `classifier`, `settings`,
`analyses`, `metrics`, `drawing`.
"""

from typing import Literal

PrototypeKind = Literal["diagonal", "isotropic", "per_channel"]
Likelihood = Literal["total", "max"]
