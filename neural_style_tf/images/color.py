"""Colour management: turn the stored pixels of any picture into sRGB, strip by strip.

Every step here looks at one pixel at a time, so a large picture is converted strip by strip and exists in
full only as Pillow decoded it.
"""

from __future__ import annotations

import functools
import io
import re
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageCms

_PIXELS_PER_STRIP = 1 << 20
# Which pixels a colour profile would be for; every mode that is not here is, or is converted to, RGB.
_BASES = {"1": "L", "L": "L", "LA": "L", "La": "L", "CMYK": "CMYK", "LAB": "LAB"}
_COLOR_SPACES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK", "Lab": "LAB"}
GRAY = 4
"""Largest difference between the colours of a grey pixel, in levels: JPEG's rounding makes some."""
# A difference this small is what two writings of sRGB itself differ by; converting would only add rounding.
_SAME_COLOR = 2


# Colours of the primaries as the connection space of ICC has them (XYZ, D50), red, green, blue; and the
# curve, of sRGB or a power.
_SRGB_CURVE = struct.pack(
    ">4s4xHxx5i", b"para", 3, *(round(65536 * v) for v in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
)
_RGB_SPACES = {
    "Adobe RGB": (
        ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
        struct.pack(">4s4xIH2x", b"curv", 1, round(256 * 2.2)),
    ),
    "Display P3": (
        ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
        _SRGB_CURVE,
    ),
    "BT.2020": (
        ((0.67346, 0.27904, -0.00194), (0.16567, 0.67534, 0.02998), (0.12505, 0.04561, 0.79686)),
        _SRGB_CURVE,
    ),
}


@functools.cache
def rgb_profile(space: str) -> bytes:
    """Return an ICC profile of Adobe RGB, Display P3 or BT.2020."""
    primaries, curve = _RGB_SPACES[space]
    text = space.encode()
    tags = {b"desc": struct.pack(f">4s4xI{len(text) + 1}s78x", b"desc", len(text) + 1, text)}
    tags[b"wtpt"] = struct.pack(">4s4x3i", b"XYZ ", *(round(65536 * v) for v in (0.96420, 1.0, 0.82491)))
    for letter, color in zip((b"r", b"g", b"b"), primaries, strict=True):
        tags[letter + b"XYZ"] = struct.pack(">4s4x3i", b"XYZ ", *(round(65536 * v) for v in color))
        tags[letter + b"TRC"] = curve
    table, body = struct.pack(">I", len(tags)), b""
    for tag, value in tags.items():
        table += struct.pack(">4sII", tag, 128 + 4 + 12 * len(tags) + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    d50 = tags[b"wtpt"][8:]
    size = 128 + len(table) + len(body)
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x12s48x", size, 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp", d50
    )
    return header + table + body


def is_hdr(profile: bytes) -> bool:
    """Return whether an ICC profile is of high dynamic range, by its name."""
    try:
        description = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return False
    return re.search(r"\b(PQ|HLG)\b|2100", description) is not None


class PixelReader:
    """Reads strips of one decoded picture as sRGB colours and alpha.

    Attributes:
        has_alpha: Whether the file has an alpha channel, a transparent palette entry or a transparent colour.
        profile: The file's own profile for RGB, if the pixels are left in it; else None.
    """

    def __init__(
        self,
        image: Image.Image,
        rawmode: str,
        name: str,
        notes: list[str],
        *,
        target: bytes | None = None,
        keep: bool = False,
    ) -> None:
        """Work out how the picture's pixels are to be read.

        Args:
            image: The picture, loaded.
            rawmode: How its file packs a pixel, in Pillow's words ("RGB;16B", "L;4"); empty if unknown.
            name: The file, as notes show it.
            notes: Gets what was converted, guessed or ignored.
            target: The ICC profile that the pixels shall be in; None for sRGB.
            keep: Leave pixels with a good profile for RGB in it.
        """
        self._image, self._rawmode = image, rawmode
        deep = _is_deep(image)
        self._base = "L" if deep else _BASES.get(image.mode, "RGB")
        self._key = image.info.get("transparency") if deep or image.mode in ("L", "RGB") else None
        self.has_alpha = self._key is not None or image.has_transparency_data
        self.profile, self._transform = _to_profile(image, self._base, name, notes, target, keep=keep)
        if self._base == "CMYK" and self._transform and self._transform.input_mode == "RGB":
            # Without a profile of its own it is read as RGB before it is converted.
            self._base = "RGB"
        if self._base == "L":
            self._tones = _tones(self._transform)
        if deep:
            self._black, self._white = self._range(name, notes)

    @property
    def converts(self) -> bool:
        """Whether the numbers of the file are converted to another profile."""
        return self._transform is not None

    def strips(self) -> Iterator[tuple[int, Image.Image]]:
        """Yield the picture from top to bottom as (first row, strip)."""
        width, height = self._image.size
        rows = max(1, _PIXELS_PER_STRIP // width)
        for top in range(0, height, rows):
            yield top, self._image.crop((0, top, width, min(top + rows, height)))

    def colors(self, strip: Image.Image) -> np.ndarray:
        """Return the strip's colours, not multiplied by alpha.

        Args:
            strip: One strip.

        Returns:
            float32 `[h, W, 3]`, sRGB, 0–255.
        """
        if _is_deep(strip):
            values = self._deep(strip)
            if self._transform is None:
                return np.repeat(values[..., None], 3, -1).astype(np.float32)
            levels = np.arange(256)
            return np.stack([np.interp(values, levels, tone) for tone in self._tones.T], -1, dtype=np.float32)
        if self._base == "L":
            grey = strip.convert("LA") if strip.mode == "La" else strip
            return self._tones[np.asarray(grey.getchannel(0).convert("L"))]
        if strip.mode != self._base:
            # Through RGBA: otherwise Pillow warns about the transparency that it drops.
            strip = strip.convert("RGBA") if strip.has_transparency_data else strip
            strip = strip.convert("RGB")
        if self._transform is not None:
            strip = ImageCms.applyTransform(strip, self._transform)
        return np.asarray(strip.convert("RGB"), np.float32)

    def alpha(self, strip: Image.Image) -> np.ndarray:
        """Return the strip's opacity, uint8 `[h, W]`; only for a picture that `has_alpha`."""
        if self._key is None:
            return np.asarray(strip.convert("LA" if self._base == "L" else "RGBA"))[..., -1]
        key, stored = np.asarray(self._key), np.asarray(strip)
        if "16" in self._rawmode and strip.mode == "RGB":
            key = key >> 8
        elif self._rawmode in ("L;2", "L;4"):
            # The key counts in the 2 or 4 bits of the file, the pixels have been spread over 0 … 255.
            key = key * (255 // (2 ** int(self._rawmode[2]) - 1))
        same = stored == key
        return np.where(same.all(-1) if same.ndim == 3 else same, 0, 255).astype(np.uint8)

    def _deep(self, strip: Image.Image) -> np.ndarray:
        """Return grey of more than 8 bits, or of floats, as float64 `[h, W]`, 0–255."""
        values = np.nan_to_num(self._stored(strip), nan=self._black, posinf=self._white, neginf=self._black)
        return np.clip((values - self._black) * (255.0 / (self._white - self._black)), 0.0, 255.0)

    def _stored(self, strip: Image.Image) -> np.ndarray:
        stored = np.asarray(strip)
        if strip.mode == "I" and self._rawmode == "I;32N":
            # Pillow has no unsigned 32 bits; a TIFF that has them comes out with its upper half negative.
            stored = stored.view(np.uint32)
        return stored.astype(np.float64)

    def _range(self, name: str, notes: list[str]) -> tuple[float, float]:
        """Return the stored values that mean black and white."""
        image = self._image
        tags = getattr(image, "tag_v2", {})
        if image.mode.startswith("I;16"):
            black, white = 0.0, 4095.0 if self._rawmode == "I;12" else 65535.0
        elif image.mode == "I" and image.format in ("PNG", "PPM"):
            black, white = 0.0, 65535.0
        else:
            low, high, bad = np.inf, -np.inf, False
            for _, strip in self.strips():
                values = self._stored(strip)
                finite = np.isfinite(values)
                bad = bad or not finite.all()
                low = min(low, values.min(where=finite, initial=np.inf))
                high = max(high, values.max(where=finite, initial=-np.inf))
            dtype = np.int16 if self._rawmode in ("I;16S", "I;16BS") else np.asarray(strip).dtype
            black, white, rule = guess_range(low, high, np.dtype(dtype))
            notes.append(f"{name} has grey values for which no white is agreed on; {rule}")
            if bad:
                notes.append(f"{name} has pixels that are not finite numbers, read as black or white")
        # TIFF's PhotometricInterpretation 0, "white is zero", which Pillow heeds only up to 8 bits.
        return (white, black) if tags.get(262) == 0 else (black, white)


def is_gray(pixels: np.ndarray) -> bool:
    """Return whether a picture `[H, W, 3]`, RGB 0–255, has no colours, beside `GRAY` levels of rounding."""
    return all(np.abs(pixels[..., c] - pixels[..., 0]).max() <= GRAY for c in (1, 2))


def _is_deep(image: Image.Image) -> bool:
    return image.mode[0] in "IF"


def guess_range(low: float, high: float, dtype: np.dtype) -> tuple[float, float, str]:
    """Return (black, white, what was decided) for values of a type, between `low` and `high`."""
    if low > high:
        return 0.0, 1.0, "none is a finite number"
    whites = [1.0, 255.0, 65535.0] if dtype.kind == "f" else np.minimum([255.0, 65535.0], np.iinfo(dtype).max)
    for white in whites if low >= 0.0 else ():
        # By a range of which a picture uses hardly anything it would come out black.
        if high <= white and (white == whites[0] or high > white / 16):
            return 0.0, white, f"they lie in 0 … {white:.0f}, so {white:.0f} is taken as white"
    rule = f"their smallest, {low:g}, is taken as black and their largest, {high:g}, as white"
    return low, max(high, low + 1.0), rule


def _to_profile(
    image: Image.Image, base: str, name: str, notes: list[str], target: bytes | None, *, keep: bool
) -> tuple[bytes | None, ImageCms.ImageCmsTransform | None]:
    """Return the picture's own profile if it is kept, and the transform to `target`, if one is due."""
    data = image.info.get("icc_profile")
    if data:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
            source = _COLOR_SPACES.get(profile.profile.xcolor_space.strip(), "")
            if source == base or (source, base) == ("RGB", "L"):
                transform = _transform(profile, source, target)
                if _changes_nothing(transform):
                    return None, None
                if keep and source == base == "RGB":
                    if _can_be_written(data):
                        return data, None
                    notes.append(f"{name}: its colour profile can only be read; the picture is taken to sRGB")
                return None, transform
            notes.append(f"{name}: its colour profile is not for {base} pixels and is ignored")
        except Exception:
            notes.append(f"{name}: its colour profile is damaged and ignored")
    if base == "LAB":
        return None, _transform(ImageCms.createProfile("LAB"), "LAB", target)
    # Without a profile the numbers are sRGB.
    return None, None if target is None else _transform(ImageCms.createProfile("sRGB"), "RGB", target)


def _can_be_written(profile: bytes) -> bool:
    """Return whether colours can be converted to a profile; that of a scanner only says how to read it."""
    try:
        _transform(ImageCms.createProfile("sRGB"), "RGB", profile)
    except ImageCms.PyCMSError:
        return False
    return True


def _transform(
    profile: ImageCms.ImageCmsProfile | ImageCms.core.CmsProfile, mode: str, target: bytes | None
) -> ImageCms.ImageCmsTransform:
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    # Littlecms' shortcut for grey is too coarse for the shadows of a linear curve; 256 levels need none.
    flags |= ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
    return ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB") if target is None else ImageCms.ImageCmsProfile(io.BytesIO(target)),
        mode,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=flags,
    )


def _changes_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    if transform.input_mode not in ("L", "RGB"):
        return False
    probe = _probe().convert(transform.input_mode)
    after = np.asarray(ImageCms.applyTransform(probe, transform), np.int16)
    return bool(np.abs(after - np.asarray(probe.convert("RGB"), np.int16)).max() <= _SAME_COLOR)


@functools.cache
def _probe() -> Image.Image:
    """Return a picture of 9 × 9 × 9 colours that fill the RGB cube."""
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1)
    return Image.fromarray(np.ascontiguousarray(cube.reshape(27, 27, 3)))


def _tones(transform: ImageCms.ImageCmsTransform | None) -> np.ndarray:
    """Return the sRGB colours, float32 `[256, 3]`, of the grey values 0 … 255."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    if transform is None:
        return np.asarray(ramp.convert("RGB"), np.float32)[0]
    converted = ImageCms.applyTransform(ramp.convert(transform.input_mode), transform)
    return np.asarray(converted, np.float32)[0]
