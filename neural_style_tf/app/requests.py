"""Turn the values of the page's controls into a checked run with the settings of the command line."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neural_style_tf.app.pictures import check_picture, clean_name, store_mask, store_picture, title_of
from neural_style_tf.config.fields import flat, tagged
from neural_style_tf.config.presets import preset
from neural_style_tf.config.schema import QUALITIES, Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.jobs.machine import Machine
from neural_style_tf.jobs.run import Run
from neural_style_tf.jobs.signals import Interrupts
from neural_style_tf.jobs.task import Task
from neural_style_tf.tiling.system_memory import available_bytes
from neural_style_tf.utils.runtime import nvidia_devices

MOST_STYLES = 3
LARGEST_UPLOAD = 100 * 2**20
"""Largest file of a picture, in bytes."""
LARGEST = 4096
"""Largest `image_size`."""
PICTURES_SHOWN = 40
"""About how many times the picture is saved during a run; each time a checkpoint is saved, too."""
LOSSES_A_PICTURE = 4
"""About how many times losses are logged for each time the picture is saved; fewer in a short run."""

_decoding = threading.Lock()
"""Held while pictures are decoded. This takes memory, so only one browser's request may do it at a time."""


@dataclasses.dataclass(frozen=True)
class Style:
    """A style picture, and where its style is taken from and goes to."""

    path: str
    weight: float = 1.0  # its weight among several styles, ≥ 0
    region: np.ndarray | None = None  # where in the photo this style goes, bool [H, W]; None: not drawn
    # The part of the style picture from which the style is taken, bool [h, w]; None: all of it.
    origin: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Request:
    """The values of the page's controls when Paint is pressed."""

    photo: str  # path of the photo; `""`: no photo was chosen
    styles: tuple[Style, ...]  # at most `MOST_STYLES`
    settings: Mapping[str, Any]  # by flag, the value of its control; `iterations` 0: those of the preset
    bits: str = "8"  # per channel, `8` or `16`
    # Settings that were taken over from an earlier run. They count for what has no control on the page, as
    # long as the preset stays the same.
    base: Config | None = None


def requested_settings(request: Request) -> Config:
    """Return the settings that a request asks for: its preset or `base`, changed by the page's controls."""
    changes = dict(request.settings)
    known = preset(changes.pop("preset"))
    if request.base is not None and request.base.preset == known.preset:
        # Settings that `auto` chose by the size of the photo are chosen again.
        chosen = {name: flat(known)[name] for name in tagged("auto", Config)}
        known = request.base.replace(style_blend=(), mask_weight=(), **chosen)
    # A browser may send a fraction, or None for an empty field.
    changes |= {name: int(changes[name] or 0) for name in ("image_size", "iterations", "seed")}
    changes["iterations"] = changes["iterations"] or known.iterations
    changes["style_scale"] = (float(changes["style_scale"]),)
    weights = tuple(float(style.weight) for style in request.styles)
    regions_drawn = any(style.region is not None for style in request.styles)
    if regions_drawn or any(style.origin is not None for style in request.styles):
        changes["match"] = "none"
    if len(set(weights)) > 1:
        changes["mask_weight" if regions_drawn else "style_blend"] = weights
    config = known.replace(**changes)
    if config.loss.match == "regions" and config.loss.style_blend:
        raise UserError(
            "By regions that match, all styles have the same weight: make the weights equal, or paint as a "
            "whole."
        )
    return watched(config)


def watched(config: Config) -> Config:
    """Return `config` changed so that losses and pictures are saved often enough to be watched."""
    planned = QUALITIES[config.quality] * (config.iterations + sum(config.sizes.scale_iterations))
    log_every = max(1, round(planned / (PICTURES_SHOWN * LOSSES_A_PICTURE)))
    save_every = log_every * max(1, round(planned / (PICTURES_SHOWN * log_every)))
    return config.replace(log_every=log_every, save_every=save_every)


def plan(request: Request, base: Job) -> Task:
    """Check a request, store its pictures, and create the folder of its run; return the run.

    `base` has the output folder and the network of all runs. Raise `UserError`, worded for the page, if a
    picture is missing or a setting cannot be used.
    """
    if not request.photo:
        raise UserError("There is no photo yet: drop one on the left, or choose an example.")
    if not request.styles:
        raise UserError("There is no style yet: drop a painting as Style 1, or choose an example.")
    config = requested_settings(request)
    regions = fill_regions([style.region for style in request.styles])
    folder = Path(base.output_dir)
    with _decoding:
        photo, *styles = _store([request.photo, *(style.path for style in request.styles)], folder)
        title, *names = (title_of(Path(path)) for path in (photo, *styles))
        masks = [str(store_mask(region, f"{title}-region", folder)) for region in regions]
        origins = [
            "" if style.origin is None else str(store_mask(style.origin, f"{name}-part", folder))
            for style, name in zip(request.styles, names, strict=True)
        ]
        job = base.replace(
            content=photo,
            style=styles,
            content_mask=masks,
            style_mask=origins if any(origins) else (),
            bits=request.bits,
        )
        return _claim(config, job)


def plan_files(config: Config, pictures: Mapping[str, Sequence[str]], base: Job) -> Task:
    """Do as `plan`, with masks that are files.

    Args:
        config: The settings of the run.
        pictures: Name of each setting of `Job` that names pictures → their paths; `""`: no mask.
        base: As in `plan`, with all other settings of the run.

    Raises:
        UserError: A picture cannot be read, or a setting cannot be used.
    """
    config = watched(config)
    with _decoding:
        stored = {name: _store(paths, Path(base.output_dir)) for name, paths in pictures.items()}
        files = {
            name: paths if isinstance(getattr(Job, name), tuple) else paths[-1]
            for name, paths in stored.items()
        }
        return _claim(config, base.replace(**files))


def _store(paths: Sequence[str], folder: Path) -> list[str]:
    """Check pictures, and store them in the output folder; return their new paths. `""` stays as it is."""
    for path in filter(None, paths):
        if not Path(path).exists():
            raise UserError("A picture was sent here long ago, and is gone: send it once more.")
        check_picture(path)
    return [path and str(store_picture(path, folder)) for path in paths]


def _claim(config: Config, job: Job) -> Task:
    """Check a run whose pictures are stored, and create its folder inside `job.output_dir`."""
    if not 0 < config.sizes.image_size <= LARGEST:
        raise UserError(f"--image_size must be from 1 to {LARGEST} here, not {config.sizes.image_size}")
    memory = check(config, job).memory(available=0)
    title, *names = (title_of(Path(path)) for path in (job.content, *job.style))
    path = claim_folder(Path(job.output_dir) / clean_name(f"{title}-{'+'.join(names)}"))
    return Task(path.name, config, job.replace(output_dir=str(path)), memory)


def claim_folder(best: Path) -> Path:
    """Create a new folder and return its path: `best`, or if that exists, `best-2`, `best-3` and so on."""
    path, number = best, 1
    while True:
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            number += 1
            path = best.with_name(f"{best.name}-{number}")
        else:
            return path


def fill_regions(regions: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """Return the region of each style, bool [H, W]. A style with region None gets what the others leave.

    If no region is drawn, return an empty list: all styles go everywhere. Raise `UserError` if the others
    leave nothing.
    """
    drawn = [region for region in regions if region is not None]
    if not drawn:
        return []
    rest = ~np.logical_or.reduce(drawn)
    missing = [number for number, region in enumerate(regions, 1) if region is None]
    if missing and not rest.any():
        raise UserError(
            f"The brush leaves no part of the photo to style {missing[0]}: leave some of it unmarked."
        )
    return [rest if region is None else region for region in regions]


def check(config: Config, job: Job) -> Run:
    """Check a run as the command line does, and return it; raise `UserError` for a mistake."""
    return Run(config, job, Machine(), Interrupts())


def check_fits(task: Task) -> None:
    """Raise `UserError` if a run needs more memory than is free on this machine."""
    available = available_bytes()
    # On a GPU, the run itself checks the memory, which only TensorFlow knows.
    if available is not None and task.memory > available and not nvidia_devices():
        raise UserError(
            f"a painting of this size needs about {task.memory / 1e9:.1f} GB of memory, and "
            f"{available / 1e9:.1f} GB are free: take a smaller size, or end other programs"
        )
