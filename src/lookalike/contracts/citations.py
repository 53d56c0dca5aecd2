"""Papers that more than one room cites."""

CORRESPONDENCE = (
    "G. Nguyen, M. R. Taesiri and A. Nguyen. Visual Correspondence-Based Explanations Improve AI Robustness and "
    "Human-AI Team Accuracy. NeurIPS, 2022. arXiv 2208.00780."
)
DENSE_FLOW = (
    "M. Grcić, I. Grubišić and S. Šegvić. Densely Connected Normalizing Flows. NeurIPS, 2021. arXiv 2106.04627."
)
