"""One reader a layout: original files in, a `RawData` out."""
