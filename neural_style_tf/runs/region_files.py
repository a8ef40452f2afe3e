"""The files of `--match=regions`: masks that can be passed to `--content_mask` and `--style_mask`."""

from __future__ import annotations

import shlex
import zipfile
from pathlib import Path

import numpy as np

from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError, show
from neural_style_tf.images import save_image
from neural_style_tf.transfer.records import FrameRecord, Listener
from neural_style_tf.transfer.regions import Clusters, Regions
from neural_style_tf.utils.files import atomic_file

FOLDER = "regions"
SHADES = ((228, 87, 46), (46, 134, 171), (124, 181, 24), (244, 206, 66), (155, 93, 229))
"""Colour of each region in `overview`, RGB 0–255."""


def write_regions(folder: Path, regions: Regions, *, moving: bool = False) -> None:
    """Write the masks of all regions, an overview picture, and what resuming needs to `folder`/regions.

    For a clip, `moving` is True: then `RegionFrames` writes the content masks of each frame.
    """
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    if not moving:
        _write_masks(place, "content", regions.content_masks())
    _write_masks(place, "style", regions.style_masks())
    save_image(place / "regions.png", overview(regions))
    clusters = {name: getattr(regions.clusters, name) for name in Clusters.__dataclass_fields__}
    labels = {f"style_{number}": values for number, values in enumerate(regions.styles)}
    labels |= {"photo": regions.photo, "pairs": np.array(regions.pairs)}
    with atomic_file(place / "regions.npz") as file:
        np.savez_compressed(file, **labels, **clusters)


def read_regions(folder: Path) -> Regions | None:
    """Return what `write_regions` wrote, or None; raise `UserError` if the file cannot be read."""
    path = folder / FOLDER / "regions.npz"
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            count = sum(name.startswith("style_") for name in file.files)
            styles = tuple(file[f"style_{number}"] for number in range(count))
            clusters = Clusters(**{name: file[name] for name in Clusters.__dataclass_fields__})
            pairs = tuple((int(region), int(style)) for region, style in file["pairs"])
            return Regions(file["photo"], styles, clusters, pairs)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        raise UserError(
            f"--resume: {show(path)} cannot be read, which says where each region is: put it back, or "
            "--overwrite begins the run anew"
        ) from None


def flags_of(folder: Path, regions: Regions, config: Config, job: Job, *, moving: bool) -> str:
    """Return one line of flags that paint with the masks of `write_regions` instead of `--match=regions`."""
    place, flags = folder / FOLDER, ["--match=none"]
    numbers = range(1, len(regions.pairs) + 1)
    flags += [f"--style={job.style[style]}" for _, style in regions.pairs]
    for kind, suffix in (("content", "" if moving else ".png"), ("style", ".png")):
        flags += [f"--{kind}_mask={place / f'{kind}_{number}{suffix}'}" for number in numbers]
    scales = config.sizes.style_scale
    if len(scales) > 1:
        flags.append(f"--style_scale={','.join(f'{scales[style]:g}' for _, style in regions.pairs)}")
    return shlex.join(flags)


def overview(regions: Regions) -> np.ndarray:
    """Return a picture of the regions of photo and styles, side by side, float32 [H, W, 3], RGB 0–255.

    Each region has one of the colours `SHADES`.
    """
    parts = (regions.photo, *regions.styles)
    height = max(labels.shape[0] for labels in parts)
    shades = np.array(SHADES, np.float32)
    painted = [
        np.pad(shades[labels], [(0, height - labels.shape[0]), (0, 8), (0, 0)], constant_values=255)
        for labels in parts
    ]
    return np.concatenate(painted, 1)


class RegionFrames(Listener):
    """Writes the content masks of each frame of a clip to `regions/content_1/frame-000001.png` ….

    `labels` maps the number of a frame to the region of each pixel. Entries are removed once written.
    """

    def __init__(self, folder: Path, regions: Regions, labels: dict[int, np.ndarray]) -> None:
        self._folder, self._regions, self._labels = folder / FOLDER, regions, labels

    def on_step(self, record: FrameRecord) -> None:
        labels = self._labels.pop(record.step, None)
        if labels is None:
            return
        for number, mask in enumerate(self._regions.content_masks(labels), 1):
            place = self._folder / f"content_{number}"
            place.mkdir(parents=True, exist_ok=True)
            _write(place / f"frame-{record.step:06d}.png", mask)


def _write_masks(place: Path, kind: str, masks: tuple[np.ndarray, ...]) -> None:
    for number, mask in enumerate(masks, 1):
        _write(place / f"{kind}_{number}.png", mask)


def _write(path: Path, mask: np.ndarray) -> None:
    save_image(path, np.repeat(255 * mask[..., np.newaxis], 3, -1))
