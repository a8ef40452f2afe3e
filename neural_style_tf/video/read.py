"""Read clips: video files (see `film`), folders of numbered frames, and animated pictures.

Frames are read one at a time, upright, and not kept in memory.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from neural_style_tf.errors import RunError, UserError, show
from neural_style_tf.images import MAX_PIXELS, load_image
from neural_style_tf.images.decode import open_frames, quiet_pillow
from neural_style_tf.images.exr import Original, common_window
from neural_style_tf.images.files import expand_files

VIDEO_SUFFIXES = frozenset(
    ".3g2 .3gp .asf .avi .dv .f4v .flv .m2ts .m2v .m4v .mkv .mov .mp4 .mpeg "  # noqa: SIM905
    ".mpg .mts .mxf .ogv .ts .vob .webm .wmv .y4m".split()
)
"""Endings of video files."""
ANIMATED_SUFFIXES = frozenset((".gif", ".webp", ".png", ".apng", ".avif"))
ANIMATED = ("GIF", "WEBP", "PNG", "AVIF")
FOLDER_RATE = Fraction(24)
"""Default frame rate of a folder of frames, per second."""
SHORTEST_FRAME, USUAL = Fraction(1, 50), Fraction(1, 10)
"""In seconds: browsers show a frame whose duration is at most half the first for the second."""
INSTALL = 'pip install "neural-style-tf[video]"'
FILE_TAGS = ("title", "artist", "copyright", "date", "creation_time", "comment", "description")
"""Metadata of a clip that are copied to its painting."""
REMEMBERED = 8
"""Number of clips whose properties, hash and key frames a process remembers."""


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a clip."""

    number: int  # from 1, of all frames of the clip
    time: Fraction  # seconds from the first frame of the clip
    pixels: np.ndarray  # float32 [H, W, 3], RGB 0–255
    alpha: np.ndarray | None = None  # opacity, uint8 [H, W]; None for an opaque frame


@dataclasses.dataclass(frozen=True, eq=False)
class Clip:
    """The properties of a clip, and a function that reads its frames."""

    path: Path  # the file, folder or pattern
    files: tuple[Path, ...]  # the file, or the files of all frames
    rate: Fraction  # frames per second, on average
    count: int  # approximate number of frames; 0 if the file does not say
    # Yields the frames with these numbers, from 1, as far as they exist. Nothing after them is read, so it
    # may be damaged.
    read: Callable[[range], Iterator[Frame]]
    notes: tuple[str, ...]  # lines that the user should see
    has_audio: bool = False  # whether the clip has sound that can be decoded
    has_alpha: bool = False  # whether transparency was found; not all frames of a video are searched
    # Numbers of the frames that could not be decoded completely; filled while the clip is read.
    damaged: set[int] = dataclasses.field(default_factory=set)
    length: Fraction | None = None  # in seconds; None if the file does not say
    plays: int = 0  # how often an animation is played; 0: for ever
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)  # metadata, by the names in `FILE_TAGS`
    # The first frame's file, if that is an OpenEXR file; those of the other frames have the same size.
    original: Original | None = None

    def original_of(self, number: int) -> Original | None:
        """Return the OpenEXR file of frame `number`; None for other formats."""
        if self.original is None or self.files[number - 1].suffix.lower() != ".exr":
            return None
        return dataclasses.replace(self.original, path=self.files[number - 1])

    def name_of(self, number: int) -> int:
        """Return the number in the name of the file of frame `number`; `number` if not each has its own."""
        return self._names[number - 1] if self._names else number

    @functools.cached_property
    def _names(self) -> list[int]:
        # The one file of a video holds all frames. The last group of digits that differs is the number.
        groups = [re.findall(r"\d+", file.stem) for file in self.files if file != self.path]
        for place in range(1, 1 + min(map(len, groups), default=0)):
            names = [int(found[-place]) for found in groups]
            if len(set(names)) == len(self.files):
                return names
        return []

    def shown_last(self, number: int, time: Fraction, every: int) -> Fraction:
        """Return for how many seconds frame `number`, at `time`, is shown if it is the last painted frame.

        `every` is the step between painted frames: `every=2` paints every second frame.
        """
        rest = self.length - time if self.length and number + every > self.count else Fraction(0)
        return rest if rest > 0 else every / self.rate

    @functools.cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, or of the names and contents of all files in a folder."""
        digests = []
        for file in self.files:
            with file.open("rb") as opened:
                digests.append(hashlib.file_digest(opened, "sha256"))
        if self.files == (self.path,):
            return digests[0].hexdigest()
        whole = hashlib.sha256()
        for file, digest in zip(self.files, digests, strict=True):
            whole.update(file.name.encode("utf-8", "surrogateescape") + b"\0" + digest.digest())
        return whole.hexdigest()


def has_video_library() -> bool:
    """Return whether the extra `video` is installed."""
    return all(importlib.util.find_spec(name) for name in ("av", "cv2"))


def is_clip(path: str) -> bool:
    """Return whether a file is a clip: a video or an animated picture. An unreadable file is none."""
    file = Path(path)
    try:
        suffix = file.suffix.lower()
        if suffix in VIDEO_SUFFIXES:
            return True
        if suffix not in ANIMATED_SUFFIXES or not file.is_file():
            return False
        with (
            quiet_pillow(show(path), [], max_pixels=MAX_PIXELS),
            open_frames(file, ANIMATED) as (picture, begin),
        ):
            return getattr(picture, "n_frames", 1) - begin > 1
    except (OSError, ValueError):
        # The error is reported when the file is read as a picture.
        return False


def open_clip(
    path: str,
    *,
    frames: bool = False,
    rate: float = 0.0,
    max_pixels: int = MAX_PIXELS,
    allow_truncated: bool = False,
) -> Clip:
    """Open a clip; while its files do not change, return the same object again.

    The clip is a video or an animation; with `frames` a folder or a glob pattern of pictures, of which `rate`
    are shown per second (0: 24). With `allow_truncated` a damaged file is read as far as possible. Raise
    `UserError` if the clip is missing, unreadable or too large, or if the extra `video` is missing.
    """
    file = Path(path)
    if frames:
        files = tuple(Path(name) for name in expand_files(path))
        if not files or not files[0].exists():
            raise UserError(f"--frames: there are no pictures in {show(path)}: give a folder, or a pattern")
    else:
        if rate:
            raise UserError("--frame_rate is about --frames; a video and an animation have their own")
        try:
            if not file.is_file():
                raise UserError(f"--content: there is no file {show(path)}")
        except PermissionError:
            raise UserError(
                f"{show(path)} cannot be read: permission denied; change its permissions"
            ) from None
        files = (file,)
    stats = [file.stat() for file in files]
    state = hash(tuple((stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns) for stat in stats))
    return _open_clip(file, files, rate if frames else None, max_pixels, allow_truncated, state)


@functools.lru_cache(maxsize=REMEMBERED)
def _open_clip(
    path: Path,
    files: tuple[Path, ...],
    rate: float | None,
    max_pixels: int,
    allow_truncated: bool,
    state: int,
) -> Clip:
    """Open a clip: a folder of frames if `rate` is not None, otherwise one file.

    `state` is a hash of the files' sizes and modification times. It is a key of the cache, so that a clip
    whose files have changed is opened again.
    """
    reading = {"max_pixels": max_pixels, "allow_truncated": allow_truncated}
    if rate is not None:
        return _open_folder(path, files, rate, reading)
    if path.suffix.lower() in ANIMATED_SUFFIXES:
        return _open_animation(path, **reading)
    from neural_style_tf.video.film import open_video

    return open_video(path, **reading)


def _open_folder(path: Path, files: tuple[Path, ...], rate: float, reading: dict[str, Any]) -> Clip:
    frames_a_second = Fraction(rate).limit_denominator(10**6) if rate else FOLDER_RATE
    if files[0].suffix.lower() == ".exr":
        reading["window"] = common_window(files)
    first = load_image(files[0], **reading)
    has_alpha, shape = first.alpha is not None, first.pixels.shape

    def read(numbers: range) -> Iterator[Frame]:
        for number in numbers:
            if number > len(files):
                return
            file = files[number - 1]
            try:
                picture = load_image(file, **reading)
            except UserError as error:
                raise RunError(f"frame {number}: {error}") from None
            if picture.pixels.shape != shape:
                sizes = [f"{width}×{height}" for height, width, _ in (picture.pixels.shape, shape)]
                raise RunError(
                    f"frame {number}, {show(file)}, is {sizes[0]}, and the first is {sizes[1]}: all must "
                    "have one size"
                )
            yield Frame(number, (number - 1) / frames_a_second, picture.pixels, picture.alpha)

    notes = (f"{len(files)} frames at {float(frames_a_second):g} a second", *first.notes)
    return Clip(
        path,
        files,
        frames_a_second,
        len(files),
        read,
        notes,
        has_alpha=has_alpha,
        original=first.original,
    )


def _open_animation(file: Path, *, max_pixels: int, allow_truncated: bool) -> Clip:
    # This checks the file like any picture, and returns notes on it.
    first = load_image(file, max_pixels=max_pixels, allow_truncated=allow_truncated)
    height, width = first.pixels.shape[:2]
    notes = [note for note in first.notes if "animated" not in note]
    quiet = functools.partial(quiet_pillow, show(file), [], max_pixels=max_pixels)
    times, time, has_alpha = [], Fraction(0), False
    with contextlib.ExitStack() as opened:
        with quiet():
            picture, begin = opened.enter_context(open_frames(file, ANIMATED))
            count = picture.n_frames - begin
            plays = _plays(picture)
            info = {name.lower(): text for name, text in picture.info.items() if isinstance(name, str)}
        for index in range(count):
            try:
                with quiet():
                    picture.seek(begin + index)
                    picture.load()
                    has_alpha = has_alpha or _alpha_of(picture) is not None
            except UserError as error:
                if not index or not allow_truncated:
                    raise UserError(f"frame {index + 1} of {count}: {error}") from None
                notes.append(f"it is cut short or damaged: frame {index} of {count} is the last that is read")
                count = index
                break
            shown = Fraction(picture.info.get("duration") or 0) / 1000
            times.append(time)
            time += USUAL if shown <= SHORTEST_FRAME / 2 else shown

    def read(numbers: range) -> Iterator[Frame]:
        with contextlib.ExitStack() as opened:
            with quiet():
                picture, begin = opened.enter_context(open_frames(file, ANIMATED))
            for number in numbers:
                if number > count:
                    return
                try:
                    with quiet():
                        picture.seek(begin + number - 1)
                        upright = ImageOps.exif_transpose(picture)
                        pixels = np.asarray(upright.convert("RGB"), np.float32)[:height, :width]
                        alpha = _alpha_of(upright)
                except UserError as error:
                    raise RunError(f"frame {number}: {error}") from None
                yield Frame(
                    number, times[number - 1], pixels, None if alpha is None else alpha[:height, :width]
                )

    return Clip(
        file,
        (file,),
        count / time,
        count,
        read,
        (f"{count} frames, {float(time):.3g} seconds", *notes),
        has_alpha=has_alpha,
        length=time,
        plays=plays,
        tags={
            name: text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
            for name, text in info.items()
            if name in FILE_TAGS
        },
    )


def _plays(picture: Image.Image) -> int:
    """Return how often an animation is played; 0: for ever."""
    loop = picture.info.get("loop")
    if picture.format != "GIF" or loop == 0:
        return loop or 0
    # A GIF states the number of repetitions, and nothing if it is not repeated.
    return 1 + (loop or 0)


def _alpha_of(picture: Image.Image) -> np.ndarray | None:
    """Return the opacity, uint8 [H, W], of the picture's current frame; None if it is opaque."""
    alpha = np.asarray(picture.convert("RGBA"))[..., 3] if picture.has_transparency_data else None
    return None if alpha is None or alpha.min() == 255 else alpha
