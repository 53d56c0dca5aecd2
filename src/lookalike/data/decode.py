"""Decode an image file to RGB."""

from __future__ import annotations

import io
import warnings

from PIL import Image, UnidentifiedImageError

from lookalike.core.errors import LookalikeError
from lookalike.data.image_files import FORMATS

# What Pillow converts to 8-bit RGB without a choice; 16-bit and floating modes would be cut off.
CONVERTED = frozenset(("1", "L", "LA", "La", "P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"))
LARGEST = 178_956_970  # pixels: Pillow calls a file with more a decompression bomb


def decode(content: bytes, name: str) -> tuple[Image.Image, str]:
    """The image in RGB and the mode it had.

    Args:
        content: Bytes of the file.
        name: Name of the file in messages.

    Raises:
        LookalikeError: The file is no image, is truncated, or has no 8-bit RGB form.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd EXIF, palettes with transparency: nothing a user could act on
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                mode, (width, height) = image.mode, image.size
                if width * height > LARGEST:
                    raise LookalikeError(f"image {name} has {width} x {height} pixels; make it smaller.")
                if mode != "RGB" and mode not in CONVERTED:
                    raise LookalikeError(
                        f"image {name} has mode {mode}, which has no exact 8-bit RGB form; save it as 8-bit RGB."
                    )
                if (bits := _bits(image, content)) > 8:
                    raise LookalikeError(
                        f"image {name} has {bits} bits a channel, which 8-bit RGB cannot hold; save it as 8-bit RGB, "
                        "scaled as you see fit."
                    )
                return image.convert("RGB"), mode
    except Image.DecompressionBombError:
        raise LookalikeError(f"image {name} has more than {LARGEST:,} pixels; make it smaller.") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        reason = "is no image" if isinstance(error, UnidentifiedImageError) else f"cannot be decoded ({error})"
        raise LookalikeError(f"image {name} {reason}; replace or remove it.") from None


def _bits(image: Image.Image, content: bytes) -> int:
    """Bits a channel, as the file says: Pillow's mode is RGB for 16 of them too, and cuts half of them off."""
    if image.format == "PNG":
        return content[24]  # of IHDR, which comes first
    if image.format == "TIFF":
        return max(image.tag_v2.get(258, (8,)))  # type: ignore[attr-defined]
    return 8
