"""From what is asked for on the page to a checked run; the same settings as the command line's."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neural_style_tf.app.pictures import check_picture, clean_name, store_mask, store_picture, title_of
from neural_style_tf.app.queue import PlannedRun
from neural_style_tf.config.fields import flat, tagged
from neural_style_tf.config.presets import preset
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError
from neural_style_tf.jobs.clip import make_run
from neural_style_tf.jobs.machine import Machine
from neural_style_tf.jobs.painting import PROCESS_BYTES
from neural_style_tf.jobs.signals import Interrupts
from neural_style_tf.jobs.task import Task
from neural_style_tf.tiling.memory_model import choose_tile, estimate_run
from neural_style_tf.tiling.system_memory import available_bytes
from neural_style_tf.utils.console import Console
from neural_style_tf.utils.runtime import nvidia_devices

MOST_STYLES = 3
PICTURES_SHOWN = 40
"""About how many times the picture is saved while it grows: each costs a checkpoint, too."""
LOSSES_A_PICTURE = 4
LONGEST_NAME = 80
"""Of a run's folder, in bytes."""

_one_at_a_time = threading.Lock()
"""Decoding takes memory, however many browsers ask at once."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where runs are written, and which network they use.

    Attributes:
        output_dir: The folder of the runs.
        weights: As of `--weights`.
        weights_dir: As of `--weights_dir`.
        trust_weights: As of `--trust_weights`.
    """

    output_dir: Path
    weights: str = Job.weights
    weights_dir: str = Job.weights_dir
    trust_weights: bool = False


@dataclasses.dataclass(frozen=True)
class Style:
    """A style picture.

    Attributes:
        path: Of the file.
        weight: Its share among several, ≥ 0.
        region: Where in the photo it goes, bool [H, W]; None: not said.
        origin: What of the picture it is taken from, bool [H, W]; None: all of it.
    """

    path: str
    weight: float = 1.0
    region: np.ndarray | None = None
    origin: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for on the page.

    Attributes:
        photo: Path of the file; `""`: none yet.
        styles: At most `MOST_STYLES`.
        preset: Its name.
        strength: See `--strength`.
        stroke_size: See `--style_scale`.
        image_size: Longest side, pixels.
        colors: See `--colors`.
        iterations: At the final size; 0: as the preset.
        seed: Of the initial noise.
        bits: A channel, `8` or `16`.
        base: Settings of an earlier run, which stand where the page has none, as long as it has this preset.
    """

    photo: str
    styles: tuple[Style, ...]
    preset: str = "balanced"
    strength: float = 0.5
    stroke_size: float = 1.0
    image_size: float = 384
    colors: str = "style"
    iterations: float | None = 0
    seed: float | None = 0
    bits: str = "8"
    base: Config | None = None


def settings(request: Request) -> Config:
    """Return the settings that are asked for.

    Raises:
        UserError: A number that is none, or out of range.
    """
    known = preset(request.preset)
    if request.base is not None and request.base.preset == request.preset:
        # What depends on the size is chosen anew.
        chosen = {name: flat(known)[name] for name in tagged("auto", Config)}
        known = request.base.replace(style_blend=(), mask_weight=(), **chosen)
    iterations = whole("Iterations", request.iterations)
    config = known.replace(
        strength=float(request.strength),
        style_scale=(float(request.stroke_size),),
        image_size=whole("Size", request.image_size),
        colors=request.colors,
        iterations=iterations or known.iterations,
        seed=whole("Seed", request.seed),
    )
    weights = tuple(float(style.weight) for style in request.styles)
    if len(set(weights)) > 1:
        guided = any(style.region is not None for style in request.styles)
        config = config.replace(**{"mask_weight" if guided else "style_blend": weights})
    return watched(config)


def watched(config: Config) -> Config:
    """Return settings with which losses and pictures are saved often enough to be looked at."""
    planned = config.iterations + sum(config.sizes.scale_iterations)
    log_every = max(1, round(planned / (PICTURES_SHOWN * LOSSES_A_PICTURE)))
    return config.replace(log_every=log_every, save_every=LOSSES_A_PICTURE * log_every)


def whole(label: str, value: float | None) -> int:
    """Return a whole number of a field; an empty one is 0.

    Raises:
        UserError: It is not finite, negative, or has a fraction.
    """
    value = 0 if value is None else value
    if not math.isfinite(value) or value < 0 or value != int(value):
        raise UserError(f"{label} must be a whole number, 0 or more, not {value:g}")
    return int(value)


def plan(request: Request, place: Place) -> PlannedRun:
    """Check what is asked for, keep its pictures, and claim a folder for it.

    Args:
        request: From the page.
        place: Where it is painted.

    Returns:
        The run, ready for the queue.

    Raises:
        UserError: What is missing or cannot be, in words for the page.
        OSError: A picture could not be kept.
    """
    if not request.photo:
        raise UserError("There is no photo yet: drop one on the left, or choose an example.")
    if not request.styles:
        raise UserError("There is no style yet: drop a painting as Style 1, or choose an example.")
    config = settings(request)
    regions = fill_regions([style.region for style in request.styles])
    with _one_at_a_time:
        for path in (request.photo, *(style.path for style in request.styles)):
            check_picture(path)
        photo = store_picture(request.photo, place.output_dir)
        styles = [store_picture(style.path, place.output_dir) for style in request.styles]
        names = [title_of(path) for path in (photo, *styles)]
        masks = [
            str(store_mask(region, f"{names[0]}-region", place.output_dir)) for region in regions if regions
        ]
        origins = [
            "" if style.origin is None else str(store_mask(style.origin, f"{name}-part", place.output_dir))
            for style, name in zip(request.styles, names[1:], strict=True)
        ]
        title = clean_name(f"{names[0]}-{'+'.join(names[1:])}")
        job = Job(
            content=str(photo),
            style=tuple(map(str, styles)),
            content_mask=tuple(masks),
            style_mask=tuple(origins) if any(origins) else (),
            weights=place.weights,
            weights_dir=place.weights_dir,
            trust_weights=place.trust_weights,
            bits=request.bits,
            output_dir=str(place.output_dir / title),
        )
        return planned(config, job, claim=True)


def planned(config: Config, job: Job, *, claim: bool = False) -> PlannedRun:
    """Check a run as the command line does.

    Args:
        config: Its settings.
        job: Its files.
        claim: Make its folder, under another name if there is one.

    Raises:
        UserError: What cannot be.
    """
    run = make_run(config, job, Machine(), Console(quiet=True), Interrupts())
    if claim:
        job = job.replace(output_dir=str(claim_folder(Path(job.output_dir))))
    return PlannedRun(Task(Path(job.output_dir).name, config, job), run.scales)


def claim_folder(wanted: Path) -> Path:
    """Make a folder that was not there, `wanted` or with a number, and return its path."""
    wanted.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(2):
        path = wanted if number == 2 else wanted.with_name(f"{wanted.name}-{number - 1}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise RuntimeError("numbers do not end")


def fill_regions(regions: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """Return the region of each style: one that has none gets what the others leave.

    Args:
        regions: bool [H, W], of one size; None: not said.

    Returns:
        Empty if none is said: all styles are everywhere.

    Raises:
        UserError: The others leave nothing.
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


def check_memory(run: PlannedRun) -> None:
    """Refuse a run that the memory of this machine does not suffice for, whatever its tiles.

    Raises:
        UserError: What is needed and what there is.
    """
    config, size = run.task.config, run.scales[-1].content
    available = available_bytes()
    if available is None or nvidia_devices():
        # Of a GPU, TensorFlow knows; the run asks it.
        return
    estimate = functools.partial(
        estimate_run, config, size, styles=run.scales[-1].styles, regions=len(run.task.job.content_mask)
    )
    needed = PROCESS_BYTES + estimate(choose_tile(config.tile, estimate, available))
    if needed > available:
        raise UserError(
            f"{size[1]}×{size[0]} pixels need about {needed / 1e9:.1f} GB of memory, and "
            f"{available / 1e9:.1f} GB are free: take a smaller size, or end other programs"
        )
