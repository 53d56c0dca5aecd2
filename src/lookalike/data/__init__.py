"""Data sets: registry, readers, the one on-disk form, images on the device."""
