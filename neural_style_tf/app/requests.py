"""From the values of the page's controls to a checked run, with the settings of the command line."""

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
PICTURES_SHOWN = 40
"""About how many times the picture is saved while it grows: each costs a checkpoint, too."""
LOSSES_A_PICTURE = 4

_decoding = threading.Lock()
"""Held while pictures are decoded, which takes memory, however many browsers press Paint at once."""


@dataclasses.dataclass(frozen=True)
class Style:
    """A style picture."""

    path: str
    weight: float = 1.0  # its share among several, ≥ 0
    region: np.ndarray | None = None  # where in the photo it goes, bool [H, W]; None: not drawn
    # The part of the picture that it is taken from, bool [H, W]; None: all of it.
    origin: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Request:
    """What a browser asks for."""

    photo: str  # path of the file; `""`: none yet
    styles: tuple[Style, ...]  # at most `MOST_STYLES`
    settings: Mapping[str, Any]  # flag → value of its control; `iterations` 0: as the preset
    bits: str = "8"  # a channel, `8` or `16`
    # Settings of an earlier run, for what the page has no control for; another preset replaces them.
    base: Config | None = None


def requested_settings(request: Request) -> Config:
    """Return the settings that a request asks for: its preset or `base`, changed by the page's controls."""
    changes = dict(request.settings)
    known = preset(changes.pop("preset"))
    if request.base is not None and request.base.preset == known.preset:
        # Settings that depend on the size are chosen anew.
        chosen = {name: flat(known)[name] for name in tagged("auto", Config)}
        known = request.base.replace(style_blend=(), mask_weight=(), **chosen)
    # A browser may send a fraction of 0, and nothing from an empty field.
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
    """Return settings with which losses and pictures are saved often enough to be looked at."""
    planned = QUALITIES[config.quality] * (config.iterations + sum(config.sizes.scale_iterations))
    log_every = max(1, round(planned / (PICTURES_SHOWN * LOSSES_A_PICTURE)))
    return config.replace(log_every=log_every, save_every=LOSSES_A_PICTURE * log_every)


def plan(request: Request, base: Job) -> Task:
    """Check a request, keep its pictures, and claim a folder for it.

    `base` has the folder of all runs and the network. A UserError is in words for the page.
    """
    if not request.photo:
        raise UserError("There is no photo yet: drop one on the left, or choose an example.")
    if not request.styles:
        raise UserError("There is no style yet: drop a painting as Style 1, or choose an example.")
    config = requested_settings(request)
    regions = fill_regions([style.region for style in request.styles])
    folder, paths = Path(base.output_dir), [request.photo, *(style.path for style in request.styles)]
    with _decoding:
        for path in paths:
            if not Path(path).exists():
                raise UserError("A picture was dropped here long ago, and is gone: drop it once more.")
            check_picture(path)
        photo, *styles = (store_picture(path, folder) for path in paths)
        title, *names = map(title_of, (photo, *styles))
        masks = [str(store_mask(region, f"{title}-region", folder)) for region in regions]
        origins = [
            "" if style.origin is None else str(store_mask(style.origin, f"{name}-part", folder))
            for style, name in zip(request.styles, names, strict=True)
        ]
        job = base.replace(
            content=str(photo),
            style=tuple(map(str, styles)),
            content_mask=tuple(masks),
            style_mask=tuple(origins) if any(origins) else (),
            bits=request.bits,
        )
        memory = check(config, job).memory(available=0)
        path = claim_folder(folder / clean_name(f"{title}-{'+'.join(names)}"))
        return Task(path.name, config, job.replace(output_dir=str(path)), memory)


def claim_folder(best: Path) -> Path:
    """Make a folder that was not there, `best` or with a number, and return its path."""
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
    """Return the region of each style, bool [H, W]; a style that is not drawn gets what the others leave.

    Empty if none is drawn: all styles are everywhere. UserError: the others leave nothing.
    """
    drawn = [region for region in regions if region is not None]
    if not drawn:
        return []
    rest = ~np.logical_or.reduce(drawn)
    missing = [number for number, region in enumerate(regions, 1) if region is None]
    if missing and not rest.any():
        raise UserError(
            f"The brush gives the whole photo to other styles than style {missing[0]}: leave it some of it."
        )
    return [rest if region is None else region for region in regions]


def check(config: Config, job: Job) -> Run:
    """Check a run as the command line does; UserError: what cannot be."""
    return Run(config, job, Machine(), Interrupts())


def check_fits(task: Task) -> None:
    """Refuse a run whose memory this machine does not have; UserError: what is needed and what there is."""
    available = available_bytes()
    # TensorFlow knows the memory of a GPU; the run asks it.
    if available is not None and task.memory > available and not nvidia_devices():
        raise UserError(
            f"a painting of this size needs about {task.memory / 1e9:.1f} GB of memory, and "
            f"{available / 1e9:.1f} GB are free: take a smaller size, or end other programs"
        )
