"""Read the pictures of a run from its files."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neural_style_tf.config.schema import Config, Job, numbered
from neural_style_tf.errors import UserError, show
from neural_style_tf.images import Picture, fill_hidden
from neural_style_tf.images.masks import load_mask, stretched, with_opacity
from neural_style_tf.jobs.machine import Machine
from neural_style_tf.transfer.initial import WORDS, initial_pixels
from neural_style_tf.transfer.masks import Masks, check_count
from neural_style_tf.transfer.plan import FINDS_MASKS, Inputs
from neural_style_tf.transfer.scales import content_size, fit_content, longest_of_style

ReadMask = Callable[..., tuple[np.ndarray, Picture]]
"""A function like `images.masks.load_mask` with one more argument in front: the role of the mask."""


@dataclasses.dataclass(frozen=True, eq=False)
class PictureFiles:
    """Facts about the picture files of a run, such as their hashes. The pixels are only in its `Inputs`."""

    pictures: Mapping[str, Picture]  # role of each picture → the picture without pixels
    lines: tuple[str, ...]  # lines for the user: name, size and notes of each picture
    init: str | None = None  # SHA-256 of the file that `--init` names; None if it names no file

    @property
    def photo(self) -> Picture:
        """The content picture. The result keeps its transparency, colour profile and resolution."""
        return self.pictures["content"]

    @property
    def hashes(self) -> dict[str, str]:
        """Role of each picture → SHA-256 of its file; `init` for a file that `--init` names."""
        hashes = {role: picture.sha256 for role, picture in self.pictures.items()}
        return hashes | ({"init": self.init} if self.init else {})


def read_inputs(
    config: Config,
    job: Job,
    machine: Machine,
    files: Mapping[str, str],
    *,
    content: Picture | None = None,
    read_mask: ReadMask | None = None,
) -> tuple[PictureFiles, Inputs]:
    """Read the pictures and masks of a run; large pictures are reduced to the size that the run uses.

    `files` maps names in `job` to copies that are read instead. For a clip, `content` is its first frame, and
    `read_mask` reads a mask, which may be a clip too.
    """
    reading = job.reading
    read_mask = read_mask or (lambda role, path, **options: load_mask(path, **options))
    pictures: dict[str, Picture] = {}
    lines: list[str] = []
    for flag in ("content_mask", "style_mask"):
        check_count(flag, getattr(job, flag), len(job.style))

    if config.loss.match == "regions" and (job.content_mask or job.style_mask):
        raise UserError(FINDS_MASKS)

    def add(role: str, picture: Picture, shape: tuple[int, ...], notes: tuple[str, ...] = ()) -> None:
        pictures[role] = dataclasses.replace(
            picture.without_pixels(), path=Path(job.pictures[role]), notes=(*picture.notes, *notes)
        )
        size = f", {shape[1]}×{shape[0]}" if shape else ""
        lines.append(f"{role}: {job.pictures[role]}{size}")
        lines.extend(f"  {note}" for note in pictures[role].notes)

    def load(role: str, **options: Any) -> Picture:
        path = job.pictures[role]
        picture = machine.load_image(files.get(path, path), **options, **reading)
        if picture.alpha is not None and not picture.alpha.any():
            raise UserError(f"{show(path)} is transparent everywhere: there is nothing to see")
        return dataclasses.replace(picture, pixels=fill_hidden(picture.pixels, picture.alpha))

    def mask(role: str, like: Picture) -> np.ndarray | None:
        path = job.pictures.get(role)
        if path is None:
            return None
        values, picture = read_mask(role, files.get(path, path), **reading)
        note = stretched(values.shape, like.pixels.shape[:2])
        add(role, dataclasses.replace(picture, alpha=None), (), (f"{show(path)} {note}",) if note else ())
        return values

    wants_profile = config.profile == "content"
    if content is None:
        sizes = {"longest": config.sizes.image_size, "enlarge": config.sizes.enlarge}
        content = load("content", **sizes, keep_profile=wants_profile)
    lacks_profile = wants_profile and content.profile is None
    note = "it has no colour profile for RGB to be painted in: --profile=content paints in sRGB"
    add("content", content, content.pixels.shape, (note,) if lacks_profile else ())
    result = content_size(content.pixels.shape[:2], config)
    styles = []
    for number, role in enumerate(numbered("style", len(job.style))):
        longest = longest_of_style(result, config, number)
        styles.append(load(role, longest=longest, profile=content.profile))
        add(role, styles[-1], styles[-1].pixels.shape)
    content_masks = [mask(role, content) for role in numbered("content_mask", len(job.content_mask))]
    style_masks = [
        with_opacity(mask(role, style), style.alpha)
        for role, style in zip(numbered("style_mask", len(styles)), styles, strict=True)
    ]
    masks = Masks(
        tuple(np.ones((1, 1), np.float32) if values is None else values for values in content_masks),
        tuple(style_masks) if any(values is not None for values in style_masks) else (),
        mask("content_weight_mask", content),
        with_opacity(None, content.alpha),
    )
    inputs = Inputs(content.pixels, tuple(style.pixels for style in styles), None, masks)
    return PictureFiles(pictures, tuple(lines)), inputs


def read_init(
    config: Config, job: Job, known: PictureFiles, inputs: Inputs, files: Mapping[str, str]
) -> tuple[PictureFiles, Inputs]:
    """Add the picture or array that `--init` names, if any, to `known` and `inputs`."""
    if config.init in WORDS:
        return known, inputs
    local = config.replace(init=files.get(config.init, config.init))
    reading = job.reading | {"profile": known.photo.profile}
    initial = initial_pixels(local, fit_content(inputs.content, config), inputs.styles[0], **reading)
    sha256 = hashlib.sha256(Path(local.init).read_bytes()).hexdigest()
    return dataclasses.replace(known, init=sha256), dataclasses.replace(inputs, initial=initial)
