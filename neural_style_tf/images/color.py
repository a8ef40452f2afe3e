"""Colour management: find the ICC profile of a picture, and convert its colours."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import struct
from collections.abc import Iterator

import numpy as np
from PIL import ExifTags, Image, ImageCms

from neural_style_tf.images import deep
from neural_style_tf.images.resize import strips

GRAY = 4
"""Largest difference, in levels, of the channels of a grey pixel: JPEG's rounding makes small ones."""
# Largest difference, in levels, between sRGB profiles by different makers. Colours that differ no more are
# not converted, since that would only add rounding errors.
_SAME_COLOR = 2
# Pillow's mode for ICC's name of a colour space.
_COLOR_SPACES = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK", "Lab": "LAB"}

# For each colour space: XYZ of red, green and blue in ICC's connection space (D50), and the exponent of the
# tone curve, or None for the tone curve of sRGB.
_RGB_SPACES = {
    "Adobe RGB": (
        ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
        563 / 256,
    ),
    "Display P3": (
        ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
        None,
    ),
    "BT.2020": (
        ((0.67346, 0.27904, -0.00194), (0.16567, 0.67534, 0.02998), (0.12505, 0.04561, 0.79686)),
        None,
    ),
}
# Codes of ITU-T H.273: transfer characteristics PQ and HLG; primaries of colour spaces, and codes without a
# colour space.
_HDR_TRANSFERS = (16, 18)
_SPACES, _UNNAMED = {9: "BT.2020", 12: "Display P3"}, (0, 2)
# Values of EXIF's ColorSpace. The first is not in the standard, but cameras write it.
_ADOBE, _UNCALIBRATED = 2, 65535
# Offsets in an ICC profile (ICC.1:2022): of the date, of the tag table, and inside a tag of its XYZ values,
# its curve parameters and its text.
_DATE, _TAG_TABLE, _XYZ, _CURVE, _TEXT = slice(24, 36), 128, 8, 12, 28


@functools.cache
def srgb_profile() -> bytes:
    """Return littlecms' ICC profile of sRGB without its date, so that equal pictures have equal files."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[_DATE] = bytes(12)
    return bytes(profile)


@functools.cache
def rgb_profile(space: str) -> bytes:
    """Return an ICC profile of `space` ("Adobe RGB", "Display P3", "BT.2020"), made from the sRGB profile."""
    primaries, exponent = _RGB_SPACES[space]
    profile = bytearray(srgb_profile())

    def write_fixed(offset: int, *values: float) -> None:
        struct.pack_into(f">{len(values)}i", profile, offset, *(round(65536 * value) for value in values))

    (count,) = struct.unpack_from(">I", profile, _TAG_TABLE)
    for entry in range(count):
        tag, offset, size = struct.unpack_from(">4sII", profile, _TAG_TABLE + 4 + 12 * entry)
        if tag in (b"rXYZ", b"gXYZ", b"bXYZ"):
            write_fixed(offset + _XYZ, *primaries[b"rgb".index(tag[:1])])
        elif tag in (b"rTRC", b"gTRC", b"bTRC") and exponent:
            # The curve's parameters are g, a, b, c, d: Y = (a X + b)^g for X ≥ d.
            write_fixed(offset + _CURVE, exponent, 1.0, 0.0, 0.0, 0.0)
        elif tag == b"desc":
            text = space.encode("utf-16-be")
            profile[offset + _TEXT : offset + size] = text.ljust(size - _TEXT, b"\0")
    return bytes(profile)


def find_profile(
    data: bytes, image: Image.Image | None, profile: bytes | None, name: str, notes: list[str]
) -> bytes | None:
    """Return the ICC profile of a picture; None for sRGB.

    This is `profile`, the one in the file, or else that of a colour space that the file names. High dynamic
    range adds a line to `notes`.
    """
    try:
        exif = image.getexif() if image else Image.Exif()
        primaries, transfer = _code_points(data, image)
        if transfer in _HDR_TRANSFERS or (profile and _is_hdr(profile)):
            notes.append(
                f"{name} is in high dynamic range, and is read as if it were not: its colours will be pale; "
                "export it in standard range"
            )
        elif not profile and image and image.mode not in ("CMYK", "LAB"):
            space = _SPACES.get(primaries, "")
            if primaries in _UNNAMED:
                space = _exif_space(exif, name, notes)
            return rgb_profile(space) if space else None
    except Exception:
        notes.append(f"{name}: its EXIF data is damaged and ignored")
    return profile


def _exif_space(exif: Image.Exif, name: str, notes: list[str]) -> str:
    """Return "Adobe RGB" if the EXIF data name it, otherwise "", which stands for sRGB."""
    camera = exif.get_ifd(ExifTags.IFD.Exif)
    color_space = camera.get(ExifTags.Base.ColorSpace)
    rules = exif.get_ifd(ExifTags.IFD.Interop) if ExifTags.IFD.Interop in camera else {}
    if color_space == _ADOBE or str(rules.get(ExifTags.Interop.InteropIndex, "")).startswith("R03"):
        return "Adobe RGB"
    if color_space == _UNCALIBRATED:
        notes.append(
            f"{name}: its EXIF data says that its colours are not sRGB, and no profile says which; "
            "they are read as sRGB"
        )
    return ""


def _code_points(data: bytes, image: Image.Image | None) -> tuple[int, int]:
    """Return the codes of colour primaries and transfer characteristics (ITU-T H.273); 0 if not stated."""
    match image.format if image else None:
        case "HEIF":
            nclx = image.info.get("nclx_profile") or {}
            return nclx.get("color_primaries", 0), nclx.get("transfer_characteristics", 0)
        case "PNG":
            codes = re.search(rb"\0\0\0\x04cICP(.)(.)", data[: data.find(b"IDAT")], re.DOTALL)
        case "AVIF":
            # The first box counts: later ones belong to a gain map.
            codes = re.search(rb"colr(?:nclx\0(.)\0(.)|prof|rICC)", data, re.DOTALL)
        case _:
            codes = None
    return (ord(codes[1]), ord(codes[2])) if codes and codes[1] else (0, 0)


def _is_hdr(profile: bytes) -> bool:
    """Return whether the name of an ICC profile indicates high dynamic range."""
    try:
        name = ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return False
    return re.search(r"\b(PQ|HLG)\b|2100", name) is not None


def is_gray(pixels: np.ndarray) -> bool:
    """Return whether the channels of a picture `[H, W, 3]`, RGB 0–255, differ by at most `GRAY` levels."""
    return all(np.abs(pixels[..., c] - pixels[..., 0]).max() <= GRAY for c in (1, 2))


class ColorReader:
    """Reads a decoded picture strip by strip as float RGB, and converts its colours.

    So a large picture is never in memory as floats as a whole. `pixels` and `profile` are what `decode`
    returns. Colours are converted to the ICC profile `target`, or to sRGB if it is None; with `keep` they
    stay in `profile` if that is a usable RGB profile. Lines for the user are added to `notes`.

    Attributes:
        shape: (H, W) of the picture.
        has_alpha: Whether it has a pixel that is not opaque.
        profile: The picture's own profile if `keep` kept the colours in it, else None.
        original: None, as the picture is not an OpenEXR file (`exr.ExrPicture`).
    """

    original = None

    def __init__(
        self,
        pixels: Image.Image | np.ndarray,
        profile: bytes | None,
        name: str,
        notes: list[str],
        *,
        target: bytes | None = None,
        keep: bool = False,
    ) -> None:
        self._pixels = pixels
        if isinstance(pixels, np.ndarray):
            self.shape, base = pixels.shape[:2], "L" if pixels.shape[-1] < 3 else "RGB"
            self.has_alpha = pixels.shape[-1] in (2, 4) and bool(pixels[..., -1].min() < 65535)
        else:
            self.shape, base = pixels.size[::-1], pixels.mode.removesuffix("A")
            self.has_alpha = pixels.mode[-1] == "A" and pixels.getchannel("A").getextrema()[0] < 255
        self.profile, self._transform = _to_profile(profile, base, name, notes, target, keep=keep)
        self._tones = _tones(self._transform) if base == "L" else None
        if isinstance(pixels, np.ndarray) and base == "RGB" and self._transform:
            try:
                self._pixels, self._transform = deep.convert(pixels, profile, target), None
            except ValueError:
                notes.append(f"{name} has 16 bits a colour, of which only 8 could be read")
                self._pixels = Image.fromarray((pixels // 257).astype(np.uint8))

    def strips(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray | None]]:
        """Yield strips from top to bottom: their rows, colours and opacity.

        Colours are float32 `[h, W, 3]`, RGB 0–255, not multiplied by opacity. Opacity is uint8 `[h, W]`, or
        None unless `has_alpha`.
        """
        for rows in strips(self.shape):
            if isinstance(self._pixels, np.ndarray):
                strip = self._pixels[rows] / np.float32(deep.LEVEL)
                colors = self._of_tones(strip[..., 0]) if strip.shape[-1] < 3 else strip[..., :3]
                alpha = np.rint(strip[..., -1]).astype(np.uint8)
            else:
                image = self._pixels.crop((0, rows.start, self.shape[1], rows.stop))
                alpha = np.asarray(image.getchannel("A")) if self.has_alpha else None
                colors = self._of_image(image)
            yield rows, colors, alpha if self.has_alpha else None

    def _of_image(self, image: Image.Image) -> np.ndarray:
        if self._tones is not None:
            return self._of_tones(np.asarray(image.getchannel("L")))
        if self._transform is not None:
            image = ImageCms.applyTransform(image.convert(self._transform.input_mode), self._transform)
        return np.asarray(image.convert("RGB"), np.float32)

    def _of_tones(self, grey: np.ndarray) -> np.ndarray:
        levels = np.arange(256)
        return np.stack([np.interp(grey, levels, tone) for tone in self._tones.T], -1, dtype=np.float32)


def _to_profile(
    data: bytes | None, base: str, name: str, notes: list[str], target: bytes | None, *, keep: bool
) -> tuple[bytes | None, ImageCms.ImageCmsTransform | None]:
    """Return the picture's own profile if it is kept, else None, and the transform to `target` if needed.

    `data` is that profile, and `base` is Pillow's mode without opacity; the rest is as in `ColorReader`.
    """
    if data:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
            source = _COLOR_SPACES.get(profile.profile.xcolor_space.strip(), "")
            if source == base or (source, base) == ("RGB", "L"):
                transform = _transform(profile, source, target)
                if _changes_nothing(transform):
                    return None, None
                if keep and source == base == "RGB":
                    with contextlib.suppress(ImageCms.PyCMSError):
                        # This fails for a scanner's profile, which cannot be converted to.
                        _transform(ImageCms.createProfile("sRGB"), "RGB", data)
                        return data, None
                    notes.append(
                        f"{name}: its colour profile can only be read; the picture is converted to sRGB"
                    )
                return None, transform
            notes.append(f"{name}: its colour profile is not for {base} pixels and is ignored")
        except Exception:
            notes.append(f"{name}: its colour profile is damaged and ignored")
    if base == "LAB":
        return None, _transform(ImageCms.createProfile("LAB"), "LAB", target)
    # Colours without a profile are taken as sRGB.
    return None, None if target is None else _transform(ImageCms.createProfile("sRGB"), "RGB", target)


def _transform(
    profile: ImageCms.ImageCmsProfile | ImageCms.core.CmsProfile, mode: str, target: bytes | None
) -> ImageCms.ImageCmsTransform:
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    # Littlecms' optimised grey curves are too coarse in the shadows of a linear profile.
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
    """Return whether a transform leaves 9 × 9 × 9 colours of the RGB cube, or their luma, as they are."""
    if transform.input_mode not in ("L", "RGB"):
        return False
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(27, 27, 3)
    before = Image.fromarray(cube).convert(transform.input_mode)
    after = np.asarray(ImageCms.applyTransform(before, transform), np.int16)
    return bool(np.abs(after - np.asarray(before.convert("RGB"), np.int16)).max() <= _SAME_COLOR)


def _tones(transform: ImageCms.ImageCmsTransform | None) -> np.ndarray:
    """Return the RGB colours of the grey levels 0 … 255 after a transform: float32 `[256, 3]`."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    if transform is not None:
        ramp = ImageCms.applyTransform(ramp.convert(transform.input_mode), transform)
    return np.asarray(ramp.convert("RGB"), np.float32)[0]
