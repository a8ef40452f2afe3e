"""Colours of 16 bits a channel, which Pillow cuts to 8: read and written by libvips (extra `deep`).

Only what Pillow has decoded already, as a PNG or TIFF of 16 bits, is given to libvips.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neural_style_tf.errors import UserError

LEVEL = 257.0
"""A level of 8 bits, in those of 16."""
MILLIMETRES = 25.4
_FORMATS = {"PNG": (".png", {"bitdepth": 16, "compression": 6}), "TIFF": (".tif", {"compression": "deflate"})}
_PIXELS_PER_STRIP = 1 << 20


def is_installed() -> bool:
    """Return whether the extra `deep` is installed."""
    return importlib.util.find_spec("pyvips") is not None


def check_installed() -> None:
    """Refuse 16 bits without the extra `deep`.

    Raises:
        UserError: It is not installed, or libvips cannot be loaded.
    """
    with contextlib.suppress(ImportError, OSError):
        if is_installed():
            _vips()
            return
    raise UserError(
        '--bits=16 needs libvips: pip install "neural-style-tf[deep]", or leave it out for 8 bits'
    )


@functools.cache
def _vips() -> Any:
    import pyvips

    # Readers of formats that nobody tests with hostile files.
    pyvips.block_untrusted_set(True)
    return pyvips


class Strip(NamedTuple):
    """Rows of a picture, uint16 `[h, W, 3 or 4]`."""

    pixels: np.ndarray

    @property
    def height(self) -> int:
        """Number of rows."""
        return len(self.pixels)


class DeepReader:
    """Reads strips of a picture of 16 bits a colour; the interface of `color.PixelReader`.

    Args:
        data: The bytes of a PNG or TIFF.
        size: (width, height) that Pillow found.
        turned: Whether Pillow has turned the picture upright, as it does a TIFF.
        has_alpha: Whether Pillow takes a fourth channel for opacity.
        profile: The ICC profile that the pixels shall be in; None for sRGB.
        convert: Whether they are in another one.

    Raises:
        ValueError: libvips reads something else in it than colours of 16 bits, or nothing.
    """

    def __init__(
        self,
        data: bytes,
        size: tuple[int, int],
        profile: bytes | None,
        *,
        convert: bool,
        turned: bool,
        has_alpha: bool,
    ) -> None:
        vips = _vips()
        try:
            image = vips.Image.new_from_buffer(data, "", fail_on="truncated")
            image = image.autorot() if turned else image
            if image.bands == 4 and not has_alpha:
                image = image[:3]
            if image.format != "ushort" or image.bands not in (3, 4) or (image.width, image.height) != size:
                raise ValueError("no colours of 16 bits")
            image = _converted(image, profile) if convert else image
            # Decoded once; strips are cut out of memory.
            self._image = image.copy_memory()
        except vips.Error as error:
            raise ValueError(str(error)) from error
        self.has_alpha = has_alpha and image.bands == 4

    def strips(self) -> Iterator[tuple[int, Strip]]:
        """Yield the picture from top to bottom as (first row, strip)."""
        width, height = self._image.width, self._image.height
        rows = max(1, _PIXELS_PER_STRIP // width)
        for top in range(0, height, rows):
            part = self._image.crop(0, top, width, min(rows, height - top))
            yield top, Strip(part.numpy())

    def colors(self, strip: Strip) -> np.ndarray:
        """Return the strip's colours, float32 `[h, W, 3]`, 0–255, not multiplied by alpha."""
        return strip.pixels[..., :3].astype(np.float32) / np.float32(LEVEL)

    def alpha(self, strip: Strip) -> np.ndarray:
        """Return the strip's opacity, uint8 `[h, W]`."""
        return np.rint(strip.pixels[..., 3] / LEVEL).astype(np.uint8)


def _converted(image: Any, profile: bytes | None) -> Any:
    """Return a picture in another profile, from its own, or from sRGB if it has none; alpha as it is."""
    vips = _vips()
    alpha = image[3] if image.bands == 4 else None
    colors = image[:3] if alpha is not None else image
    options = {"embedded": True, "input_profile": "srgb", "depth": 16, "intent": "relative"}
    options |= {"black_point_compensation": True, "pcs": "xyz"}
    if profile is None:
        colors = colors.icc_transform("srgb", **options)
    else:
        import tempfile

        # libvips takes a profile by its file, which must be closed before on Windows.
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "profile.icc"
            file.write_bytes(profile)
            colors = colors.icc_transform(str(file), **options).copy_memory()
    return colors if alpha is None else colors.bandjoin(alpha).copy(interpretation=vips.Interpretation.RGB16)


def encode(levels: np.ndarray, form: str, *, profile: bytes, dpi: tuple[float, float] | None) -> bytes:
    """Return a file of 16 bits a channel.

    Args:
        levels: uint16 `[H, W, 3 or 4]`.
        form: `PNG` or `TIFF`.
        profile: ICC profile of the colours.
        dpi: Pixels an inch, across and down; None to leave it out.
    """
    vips = _vips()
    image = vips.Image.new_from_array(np.ascontiguousarray(levels), interpretation="rgb16")
    if dpi:
        image = image.copy(xres=dpi[0] / MILLIMETRES, yres=dpi[1] / MILLIMETRES)
    else:
        image = image.copy()
    image.set_type(vips.GValue.blob_type, "icc-profile-data", profile)
    suffix, options = _FORMATS[form]
    return image.write_to_buffer(suffix, **options)
