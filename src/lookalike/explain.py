"""What led to a decision: influence of support images, integrated gradients on a memory, the record of both."""

from lookalike.contracts.explanation import Explanation
from lookalike.methods.memory_wrap.attribution import integrated_gradients
from lookalike.methods.nw.influence import support_influence

__all__ = ["Explanation", "integrated_gradients", "support_influence"]
