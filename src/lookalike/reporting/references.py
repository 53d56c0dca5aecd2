"""What to cite for what a study uses."""

from __future__ import annotations

from lookalike.plan import Plan

PAPERS = {
    "nw": "A. Q. Wang and M. R. Sabuncu. A Flexible Nadaraya-Watson Head Can Offer Explainable and Calibrated "
    "Classification. TMLR, 2023. arXiv 2212.03411.",
    "nw_invariant": "A. Q. Wang et al. Learning Invariant Representations with a Nonparametric "
    "Nadaraya-Watson Head. NeurIPS, 2023. arXiv 2309.13377.",
    "memory_wrap": "B. La Rosa, R. Capobianco and D. Nardi. Memory Wrap: a Data-Efficient and Interpretable Extension "
    "to Image Classification Models. 2021. arXiv 2106.01440; and Applied Intelligence, 2022. "
    "doi 10.1007/s10489-022-03886-6.",
    "protoflow": "Z. Carmichael, T. Redgrave, D. Gonzalez Cedre and W. J. Scheirer. This Probably Looks Exactly Like "
    "That: An Invertible Prototypical Network. ECCV, 2024. arXiv 2407.12200.",
    "dense_flow": "M. Grcić, I. Grubišić and S. Šegvić. Densely Connected Normalizing Flows. NeurIPS, 2021. "
    "arXiv 2106.04627.",
    "correspondence": "G. Nguyen, M. R. Taesiri and A. Nguyen. Visual Correspondence-Based Explanations Improve AI "
    "Robustness and Human-AI Team Accuracy. NeurIPS, 2022. arXiv 2208.00780.",
    "chm": "J. Min, S. Kim and M. Cho. Convolutional Hough Matching Networks for Robust and Efficient Visual "
    "Correspondence. TPAMI, 2022; CVPR, 2021.",
    "protonet": "J. Snell, K. Swersky and R. Zemel. Prototypical Networks for Few-Shot Learning. NeurIPS, 2017.",
    "matching": "O. Vinyals, C. Blundell, T. Lillicrap, K. Kavukcuoglu and D. Wierstra. Matching Networks for One Shot "
    "Learning. NeurIPS, 2016.",
}
OF_METHODS = {
    "nw": ["nw"],
    "memory_wrap": ["memory_wrap"],
    "baseline_memory": ["memory_wrap"],
    "protoflow": ["protoflow", "dense_flow"],
    "dense_flow": ["dense_flow"],
    "knn": ["correspondence"],
    "emd_corr": ["correspondence"],
    "chm_corr": ["correspondence", "chm"],
    "protonet": ["protonet"],
    "matching": ["matching"],
}


def references(plan: Plan) -> list[str]:
    """The papers behind a study's methods and released data, each once."""
    keys: dict[str, None] = {}
    for settings in plan.models.values():
        keys |= dict.fromkeys(OF_METHODS.get(settings["method"], []))
        if (settings.get("episodes") or {}).get("environment"):
            keys["nw_invariant"] = None
    if plan.human_studies:
        keys["correspondence"] = None
    return [PAPERS[key] for key in keys]
