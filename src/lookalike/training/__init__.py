"""How a network is trained, and an adversarial patch.

`loop` (steps, checkpoints, exact resume), `schedules`, `ema` (moving averages of weights), `ddp` (several devices),
`checkpoint`, `adversarial_patch`.
"""
