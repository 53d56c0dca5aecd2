"""How alike two feature maps are, patch by patch: by optimal transport, or by the correspondences of CHMNet."""

from lookalike.methods.chm_corr.network import CHMNet
from lookalike.methods.chm_corr.similarity import chm_similarity
from lookalike.methods.emd_corr.transport import emd_similarity

__all__ = ["CHMNet", "chm_similarity", "emd_similarity"]
