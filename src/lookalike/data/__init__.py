"""Data sets: from an archive to images on a device.

`registry` (a row a set), `settings` (keys of a study), `download` and `fetched` (files and terms), `listing`,
`readers`, `raw`, `reader_input`, `image_files` and `own_images` (what readers give and get), `prepare` and `manifest`
(the one on-disk form),
`prepared` and `images` (reading it), `framing`, `crops`, `decode`, `subsets`, `filters`, `corruptions`,
`adversarial_patch`, `keypoint_pairs`, `resources` (lists that ship), `archives`, `matlab`.
"""
