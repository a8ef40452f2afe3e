"""Read and write OpenEXR files, whose colours are scene-linear: proportional to light, without a bound.

Let x be the colour of a pixel in sRGB's primaries, where 1 is white, and m its largest channel, by magnitude.

    T(m) = m for m ≤ ½, 1 − 1/(4 m) above      tone curve: smooth, and below 1 for every m
    levels = 255 · OETF(x · T(m)/m)             OETF: sRGB's curve (IEC 61966-2-1), −OETF(−x) below 0

The levels of a picture lie in 0–255, with white at 225, and all channels of a pixel are scaled alike, so that
bright colours keep their hue. The inverse is m = 1/(4 (1 − T)). A painting becomes light again as

    EOTF(levels/255) · m/T(m)                   EOTF: the inverse of OETF

with the gain m/T(m) of the photo at this pixel, as in a gain map (ISO 21496-1). For the photo's own levels
this is the inverse exactly. For a painting, the inverse at its own level would not do: T is so flat that a
painting's small differences near 255 would become lights of any brightness. With the photo's gain, what
shines in the photo shines in the painting, and white paint elsewhere has the value 1.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neural_style_tf.errors import UserError, one_line, show
from neural_style_tf.images.decode import without_stderr
from neural_style_tf.images.files import ADVICE, check_size
from neural_style_tf.images.resize import resample, strips

MAGIC = b"\x76\x2f\x31\x01"
LARGEST_HALF = 65504.0
_KNEE, _B = 0.0031308, 1 / 2.4
_BYTES_PER_PIXEL = 32
"""Largest decoded file, for each of `max_pixels`: eight channels of floats."""
# Chromaticities of red, green, blue and white (CIE x, y).
_SRGB = (0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329)
_SAME_PRIMARIES = 1e-3
# Bradford's cone responses, in which white points are adapted (as in ICC profiles).
_CONES = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
# Layers that hold the finished picture in files of renderers, which have many.
_BEAUTY = ("", "rgba", "rgb", "beauty", "combined", "color", "c")
# Attributes that describe pixels which a painting of another size no longer has.
_OF_SIZE = ("channels", "dataWindow", "displayWindow", "preview")

NO_PROFILE = "OpenEXR is written from sRGB: leave out --profile=content"

Window = tuple[int, int, int, int]
"""An area of pixels: left, top, right, bottom, of which the last two are inside."""


@dataclasses.dataclass(frozen=True)
class Original:
    """The OpenEXR file of a photo. Its painting keeps the channels and attributes of this file.

    Attributes:
        path: The file.
        size: (H, W) of its pixels.
        further: Names of its channels beside colours and opacity, and of its further parts.
        window: Area of the pixels; None for the data window of the file.
    """

    path: Path
    size: tuple[int, int]
    further: tuple[str, ...] = ()
    window: Window | None = None


def is_exr(data: bytes) -> bool:
    """Return whether a file is an OpenEXR file, by its first bytes."""
    return data.startswith(MAGIC)


def check_library(name: str) -> None:
    """Raise `UserError` if the extra `exr` is missing; `name` is the file in the message."""
    try:
        _library()
    except ImportError:
        raise UserError(
            f'{name} is an OpenEXR file, for which this is needed: pip install "neural-style-tf[exr]"'
        ) from None


def to_srgb(light: np.ndarray) -> np.ndarray:
    """Return sRGB's curve of `light` (OETF), an odd function."""
    size = np.abs(light)
    return np.copysign(np.where(size <= _KNEE, 12.92 * size, 1.055 * size**_B - 0.055), light)


def from_srgb(values: np.ndarray) -> np.ndarray:
    """Return the light of `values` on sRGB's curve (EOTF), the inverse of `to_srgb`."""
    size = np.abs(values)
    return np.copysign(np.where(size <= 12.92 * _KNEE, size / 12.92, ((size + 0.055) / 1.055) ** 2.4), values)


def gain(light: np.ndarray) -> np.ndarray:
    """Return m/T(m) of each pixel: `[H, W]` for `light` `[H, W, 3]`; see the beginning of this file."""
    largest = np.maximum(np.abs(light).max(-1), 0.5)
    return largest / (1.0 - 0.25 / largest)


def to_levels(light: np.ndarray) -> np.ndarray:
    """Return the levels of `light` `[H, W, 3]`, in sRGB's primaries."""
    return 255.0 * to_srgb(light / gain(light)[..., np.newaxis])


def to_light(levels: np.ndarray) -> np.ndarray:
    """Return the light of `levels` `[H, W, 3]`: the inverse of `to_levels`, for levels below 255.

    Near 255 it is as coarse as the levels are. A painting gets its light by the photo's gain instead.
    """
    shown = from_srgb(np.minimum(levels, 254.999) / 255.0)
    largest = np.maximum(np.abs(shown).max(-1, keepdims=True), 0.5)
    return shown * (0.25 / (1.0 - largest) / largest)


class ExrPicture:
    """The colours and opacity of an OpenEXR file; has the interface of `color.ColorReader`.

    Args:
        data: The bytes of the file.
        path: The file, for `original` and messages.
        notes: Lines for the user are added to this list.
        max_pixels: Files with more pixels are refused, and files with more than 32 times as many bytes.
        window: Area of the pixels, for a frame of a clip; default: the data window. Pixels that the file
            lacks are transparent, or black if it has no opacity.

    Attributes:
        shape: (H, W) of the picture.
        has_alpha: Whether it has a pixel that is not opaque.
        profile: None, which stands for sRGB.
        original: What `encode` needs to read the file again.

    Raises:
        UserError: The file is damaged, too large, deep, or has no colours that can be painted.
    """

    profile = None

    def __init__(
        self, data: bytes, path: Path, notes: list[str], *, max_pixels: int, window: Window | None = None
    ) -> None:
        name = show(path)
        check_library(name)
        with _reported(name):
            headers = _read_headers(_library().File(io.BytesIO(data), header_only=True))
            _check_headers(headers, name, max_pixels)
            self._index, self._names, alpha = _find_colors(headers, name)
            channels = [channel for header in headers for channel in header["channels"].values()]
            # The library does not write them.
            if coarse := [c.name for c in channels if (c.xSampling, c.ySampling) != (1, 1)]:
                raise UserError(
                    f"{name}: its channels {', '.join(coarse[:8])} have a lower resolution; save them at the "
                    "full one"
                )
            self._file = _library().File(io.BytesIO(data), separate_channels=True)
            if len(self._file.parts) < len(headers):
                # The library leaves out a part that it cannot decode.
                raise ValueError("pixels are missing")
        part = self._part = self._file.parts[self._index]
        channels, header = part.channels, part.header
        colors = [channels[channel] for channel in self._names]
        if not all(map(_is_float, colors)):
            raise UserError(
                f"{name}: its colours ({', '.join(self._names)}) are integers; save them as half floats"
            )
        alpha = alpha if alpha and _is_float(channels[alpha]) else ""
        own = _window_of(header)
        frame = window or own
        self.shape = frame[3] - frame[1] + 1, frame[2] - frame[0] + 1
        check_size(*self.shape[::-1], name, max_pixels)
        if any(frame[at] > own[at] or frame[at + 2] < own[at + 2] for at in (0, 1)):
            raise UserError(f"{name}: its pixels lie outside of the area {frame} of the clip")
        # The part of the picture that the file has.
        self._crop = tuple(slice(own[at] - frame[at], own[at + 2] - frame[at] + 1) for at in (1, 0))
        self._colors = [self._placed(c.pixels) for c in colors]
        self._alpha = self._placed(channels[alpha].pixels) if alpha else None
        self.has_alpha = alpha != "" and bool(_opacity(self._alpha).min() < 1)
        self._to_srgb = _to_srgb_matrix(header)
        self._note(name, notes)
        painted = {*self._names, alpha}
        further = [channel for channel in channels if channel not in painted]
        further += [f"part {p.name() or i + 1}" for i, p in enumerate(self._file.parts) if i != self._index]
        self.original = Original(path, self.shape, tuple(further), window)
        if self._names[0] not in ("R", "Y") or len(self._file.parts) > 1:
            where = f" of part {part.name() or self._index + 1}" if len(self._file.parts) > 1 else ""
            notes.append(f"{name}: painted is {', '.join(dict.fromkeys(self._names))}{where}")

    def _placed(self, pixels: np.ndarray) -> np.ndarray:
        """Return a channel of the file at the size of the picture, with 0 where the file has no pixels."""
        if pixels.shape == self.shape:
            return pixels
        placed = np.zeros(self.shape, pixels.dtype)
        placed[self._crop] = pixels
        return placed

    def _note(self, name: str, notes: list[str]) -> None:
        colors = self._colors[: len(set(self._names))]
        if lost := sum(int(pixels.size - np.isfinite(pixels).sum()) for pixels in colors):
            notes.append(f"{name}: {lost} values are not finite: NaN is read as 0, infinity as 65504")
        low = min(float(np.min(pixels, where=np.isfinite(pixels), initial=0)) for pixels in colors)
        if low < 0:
            notes.append(f"{name}: values below 0 (to {low:.3g}) stay; nothing else is painted below 0")

    def _raw(self, rows: slice) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the colours [h, W, 3] as stored, but finite, and the opacity [h, W, 1], or None."""
        raw = np.stack([pixels[rows] for pixels in self._colors], -1).astype(np.float64)
        alpha = None if self._alpha is None else _opacity(self._alpha[rows])[..., np.newaxis]
        return np.nan_to_num(raw, copy=False, posinf=LARGEST_HALF, neginf=-LARGEST_HALF), alpha

    def _light(self, rows: slice) -> np.ndarray:
        """Return the colours [h, W, 3] in sRGB's primaries, not multiplied by opacity."""
        light, alpha = self._raw(rows)
        if alpha is not None:
            # Light without opacity, as of a flame, stays as it is.
            light /= np.where(alpha > 0, alpha, 1.0)
        return light if self._to_srgb is None else light @ self._to_srgb.T

    def strips(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray | None]]:
        """Yield rows, levels float32 `[h, W, 3]` and opacity uint8 `[h, W]`, as `ColorReader.strips` does."""
        for rows in strips(self.shape):
            alpha = None
            if self.has_alpha:
                alpha = np.rint(255 * np.minimum(_opacity(self._alpha[rows]), 1.0)).astype(np.uint8)
            yield rows, to_levels(self._light(rows)).astype(np.float32), alpha

    def painted(self, pixels: Any, header: dict[str, Any]) -> Any:
        """Return the file with the painting `pixels`, levels `[h, w, 3]`, in the place of its colours.

        If the painting has the file's size, everything else is kept. Otherwise the result has the colours,
        the opacity and the attributes. `header` are further attributes.
        """
        library, size = _library(), tuple(pixels.shape[:2])
        same = size == self.shape
        most = np.finfo(np.float32).max
        gains = np.concatenate(
            [np.minimum(gain(self._light(rows)), most).astype(np.float32) for rows in strips(self.shape)]
        )
        alphas = None if self._alpha is None else _opacity(self._alpha)
        if not same:
            gains = np.maximum(_resampled(gains, size), 1.0)
            alphas = None if alphas is None else _resampled(alphas, size)
        result = [np.empty(size, pixels.dtype) for pixels in self._colors]
        for rows in strips(size):
            lowest = np.minimum(to_levels(self._light(rows)), 0.0) if same else 0.0
            light = _light_of(pixels[rows], lowest) * gains[rows][..., np.newaxis]
            if self._to_srgb is not None:
                light = light @ np.linalg.inv(self._to_srgb).T
            if alphas is not None:
                alpha = alphas[rows][..., np.newaxis]
                light = np.where(alpha > 0, light * alpha, self._raw(rows)[0] if same else 0.0)
            for channel, values in zip(result, np.moveaxis(light, -1, 0), strict=True):
                channel[rows] = _bounded(values, channel.dtype)
        prefix = self._names[0][:-1]
        channels = dict(zip([prefix + letter for letter in "RGB"], result, strict=True))
        self._part.header.update(header)
        for part in self._file.parts:
            _make_writable(part.header)
        if same:
            self._part.header.pop("preview", None)
            kept = self._part.channels
            if self._names[0] == "Y":
                del kept["Y"]
            for channel, values in channels.items():
                linear = channel in kept and bool(kept[channel].pLinear)
                values = np.ascontiguousarray(values[self._crop])
                kept[channel] = library.Channel(channel, values, 1, 1, linear)
            return self._file
        if alphas is not None:
            channels[prefix + "A"] = _bounded(alphas, self._alpha.dtype)
        kept = {key: value for key, value in self._part.header.items() if key not in _OF_SIZE}
        return library.File([library.Part(kept, channels, self._part.name())])


def encode(
    pixels: Any,
    *,
    alpha: np.ndarray | None = None,
    original: Original | None = None,
    dpi: tuple[float, float] | None = None,
) -> bytes:
    """Return a painting as the bytes of an OpenEXR file.

    Args:
        pixels: Levels `[H, W, 3]`, as in `save_image`; they are clipped to 0–255.
        alpha: Opacity, uint8 `[H, W]`; of an `original`, its own counts.
        original: The file of the photo; None for a photo of another format, whose white has the value 1.
        dpi: Pixels per inch, across and down.

    Raises:
        UserError: The original can no longer be read.
    """
    library = _library()
    header = {} if dpi is None else {"xDensity": float(dpi[0])}
    if original is not None:
        try:
            data = original.path.read_bytes()
        except OSError as error:
            raise UserError(f"{show(original.path)} cannot be read again: {error.strerror}") from error
        photo = ExrPicture(data, original.path, [], max_pixels=2**62, window=original.window)
        if photo.shape != original.size:
            raise UserError(f"{show(original.path)} was replaced by a file of another size")
        file = photo.painted(pixels, header)
    else:
        light = np.concatenate([_light_of(pixels[rows], 0.0) for rows in strips(pixels.shape)])
        planes = list(np.moveaxis(light, -1, 0))
        if alpha is not None:
            opacity = alpha / 255.0
            planes = [*(plane * opacity for plane in planes), opacity]
        header |= {"compression": library.ZIP_COMPRESSION, "type": library.scanlineimage}
        channels = {name: plane.astype(np.float16, "C") for name, plane in zip("RGBA", planes, strict=False)}
        file = library.File(header | {"chromaticities": _SRGB}, channels)
    stream = io.BytesIO()
    file.write(stream)
    return stream.getvalue()


def common_window(files: Sequence[Path]) -> Window | None:
    """Return the smallest area that holds the data windows of all `files`; None if it is that of each.

    Files that cannot be read are passed over: reading them as frames raises the error.
    """
    windows = set()
    for file in files:
        with contextlib.suppress(Exception), without_stderr():
            headers = _read_headers(_library().File(str(file), header_only=True))
            windows.add(_window_of(headers[_find_colors(headers, "")[0]]))
    if len(windows) < 2:
        return None
    lefts, tops, rights, bottoms = zip(*windows, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _library() -> Any:
    import OpenEXR

    return OpenEXR


@contextlib.contextmanager
def _reported(name: str) -> Iterator[None]:
    """Context that turns the errors of the library into `UserError`, and drops what it prints."""
    try:
        with without_stderr(), contextlib.redirect_stdout(io.StringIO()):
            yield
    except (UserError, MemoryError):
        raise
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name} has an attribute or a name that is not text in UTF-8; write it anew"
        ) from error
    except Exception as error:
        reason = one_line(str(error), 120).replace("'<python_buffer>'", "it")
        raise UserError(
            f"{name} is an OpenEXR file that is cut short or damaged ({reason}); copy it again"
        ) from error


def _read_headers(file: Any) -> list[dict[str, Any]]:
    """Return the attributes of each part of an opened file, and its channels by their names."""
    return [part.header | {"channels": {c.name: c for c in part.header["channels"]}} for part in file.parts]


def _check_headers(headers: Sequence[dict[str, Any]], name: str, max_pixels: int) -> None:
    """Raise `UserError` for deep data, and for more pixels or channels than are decoded."""
    library, size = _library(), 0
    for header in headers:
        if header.get("type") in (library.deepscanline, library.deeptile):
            raise UserError(f"{name} holds deep data, several samples a pixel; flatten it first")
        left, top, right, bottom = _window_of(header)
        width, height = right - left + 1, bottom - top + 1
        check_size(width, height, name, max_pixels)
        size += 4 * width * height * len(header["channels"])
    if size > _BYTES_PER_PIXEL * max_pixels:
        raise UserError(
            f"{name} holds up to {size:,} bytes of channels, too many for {max_pixels:,} pixels; {ADVICE}"
        )


def _find_colors(headers: Sequence[dict[str, Any]], name: str) -> tuple[int, list[str], str]:
    """Return the index of the part to paint, its channels of red, green and blue, and its opacity or ""."""
    found = []
    for index, header in enumerate(headers):
        channels = header["channels"]
        for red in channels:
            prefix = red[:-1]
            names = [prefix + letter for letter in "RGB"]
            if red.endswith("R") and prefix[-1:] in ("", ".") and all(map(channels.__contains__, names)):
                layer = prefix.rstrip(".").rpartition(".")[2].lower()
                rank = _BEAUTY.index(layer) if layer in _BEAUTY else len(_BEAUTY)
                found.append((rank, index, names, prefix + "A" if prefix + "A" in channels else ""))
    if found:
        return min(found)[1:]
    for index, header in enumerate(headers):
        channels = header["channels"]
        if "RY" in channels or "BY" in channels:
            raise UserError(
                f"{name} holds luminance and chroma (Y, RY, BY); save it with channels R, G and B"
            )
        if "Y" in channels:
            return index, ["Y"] * 3, "A" if "A" in channels else ""
    names = [channel for header in headers for channel in header["channels"]]
    where = " in one part" if len(headers) > 1 else ""
    raise UserError(
        f"{name} has no channels R, G and B{where}, nor Y, but {', '.join(names[:8])}"
        f"{', …' if names[8:] else ''}"
    )


def _is_float(channel: Any) -> bool:
    return channel.pixels.dtype.kind == "f"


def _window_of(header: dict[str, Any]) -> Window:
    (left, top), (right, bottom) = header["dataWindow"]
    return int(left), int(top), int(right), int(bottom)


def _opacity(alpha: np.ndarray) -> np.ndarray:
    return np.maximum(np.nan_to_num(alpha.astype(np.float32), posinf=1.0), 0.0)


def _light_of(levels: np.ndarray, lowest: np.ndarray | float) -> np.ndarray:
    """Return the light, without gain, of levels that are clipped to `lowest` … 255."""
    return from_srgb(np.clip(np.asarray(levels, np.float64), lowest, 255.0) / 255.0)


def _bounded(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    return np.clip(values, np.finfo(dtype).min, np.finfo(dtype).max).astype(dtype)


def _resampled(plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return resample(plane[..., np.newaxis].astype(np.float32), size, smooth=True)[..., 0]


def _make_writable(header: dict[str, Any]) -> None:
    """Change what the library reads but cannot write: empty lists, and tiles of several resolutions."""
    for key in [key for key, value in header.items() if isinstance(value, list) and not value]:
        del header[key]
    if "tiles" in header:
        header["tiles"].mode = _library().ONE_LEVEL


def _to_srgb_matrix(header: dict[str, Any]) -> np.ndarray | None:
    """Return the matrix from the primaries of a file to sRGB's; None if they are the same."""
    stated = header.get("chromaticities")
    if stated is None and "colorInteropID" in header:
        stated = _library().colorInteropIDToChromaticities(header["colorInteropID"])
    if stated is None or np.abs(np.subtract(stated, _SRGB)).max() < _SAME_PRIMARIES:
        return None
    with np.errstate(all="ignore"), contextlib.suppress(np.linalg.LinAlgError):
        matrix = np.linalg.inv(_to_xyz(_SRGB)) @ _adaptation(stated[6:], _SRGB[6:]) @ _to_xyz(stated)
        if np.isfinite(matrix).all() and np.isfinite(np.linalg.inv(matrix)).all():
            return matrix
    return None


def _to_xyz(chromaticities: Sequence[float]) -> np.ndarray:
    """Return the matrix from RGB to XYZ; the columns are scaled so that RGB (1, 1, 1) is white with Y = 1."""
    red, green, blue, white = (_xyz(*chromaticities[at : at + 2]) for at in (0, 2, 4, 6))
    columns = np.stack([red, green, blue], -1)
    return columns * np.linalg.solve(columns, white)


def _xyz(x: float, y: float) -> np.ndarray:
    return np.array([x, y, 1.0 - x - y]) / np.float64(y)


def _adaptation(white: Sequence[float], target: Sequence[float]) -> np.ndarray:
    """Return Bradford's matrix that takes the XYZ of one white point to another."""
    ratio = (_CONES @ _xyz(*target)) / (_CONES @ _xyz(*white))
    return np.linalg.inv(_CONES) @ (ratio[:, np.newaxis] * _CONES)
