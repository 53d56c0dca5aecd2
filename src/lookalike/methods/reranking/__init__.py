"""Re-ranking: the nearest training images, ordered anew by what their patches have in common, vote.

What EMD-Corr and CHM-Corr share (Nguyen, Taesiri and Nguyen, NeurIPS 2022): `classifier` (candidates, vote, explanation
by patch pairs), `patches` (feature maps compared), `transfer` (key points carried by a correlation), `warps` (pairs
made of single images), `gallery` (prepared training images), `settings`, `analyses` (how right patch pairs are),
`drawing`.
"""
