"""The node *Neural Style Transfer*."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths
import numpy as np
import torch

from .pictures import fill_regions, load, save, to_masks, to_pixels, to_preview
from .program import Progress, find_program, run

MOST_STYLES = 3
SECONDS_PER_PREVIEW = 4.0
"""Seconds between two previews, up to a megapixel; of larger pictures more, as saving them takes longer."""
# Named as on the page of the program; a test compares ranges and defaults with it.
SETTINGS = {
    "preset": (
        ["balanced", "gatys", "slides", "original"],
        {
            "default": "balanced",
            "tooltip": "balanced suits every pair of pictures; the others are as published",
        },
    ),
    "strength": (
        "FLOAT",
        {
            "default": 0.5,
            "min": 0.0,
            "max": 1.0,
            "step": 0.05,
            "tooltip": "how much style; 0: a hint; 1: all that leaves the subject",
        },
    ),
    "stroke_size": (
        "FLOAT",
        {
            "default": 1.0,
            "min": 0.25,
            "max": 4.0,
            "step": 0.25,
            "tooltip": "how large the style picture is looked at",
        },
    ),
    "size": (
        "INT",
        {
            "default": 512,
            "min": 64,
            "max": 4096,
            "step": 8,
            "tooltip": "longest side of the painting in pixels; a smaller photo keeps its size; twice the "
            "size takes four times as long",
        },
    ),
    "quality": (
        ["draft", "normal", "fine"],
        {"default": "normal", "tooltip": "draft: half the time; fine: three times"},
    ),
    "colors": (
        ["style", "content", "match", "luminance"],
        {
            "default": "style",
            "tooltip": "colours of the painting: those of the style; the photo's (content); the style's, "
            "matched to the photo (match); the photo's, only light and dark painted (luminance)",
        },
    ),
    "seed": (
        "INT",
        {
            "default": 0,
            "min": 0,
            "max": 2**64 - 1,
            "control_after_generate": True,
            "tooltip": "of the noise that slides and original begin with; balanced and gatys begin with the "
            "photo: leave it fixed there, or each run paints the same again",
        },
    ),
}
FLAGS = {"stroke_size": "style_scale", "size": "image_size"}
"""Setting of the node → flag of the program, where the names differ."""


class NeuralStyleTransfer:
    """Paints photos in the style of up to three pictures, each in its place if it has a mask."""

    DESCRIPTION = (
        "Paint a photo in the style of other pictures, by optimisation (Gatys et al.). Batches of photos and "
        "styles go in pairs; the shorter one starts again. A mask says where in the photo its style goes; a "
        "style without one gets what the others leave; without masks the styles are blended."
    )
    CATEGORY = "image/style transfer"
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("painting",)
    OUTPUT_TOOLTIPS = ("One painting for each photo, with opacity if the photo has it.",)
    FUNCTION = "paint"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, tuple[Any, ...]]]:
        """Return the inputs, as ComfyUI asks for them."""
        numbers = range(1, MOST_STYLES + 1)
        styles = {f"style_{number}": ("IMAGE",) for number in numbers}
        masks = {f"mask_{number}": ("MASK",) for number in numbers}
        required = {"photo": ("IMAGE",), "style_1": styles.pop("style_1"), **SETTINGS}
        return {"required": required, "optional": styles | masks}

    @classmethod
    def VALIDATE_INPUTS(cls) -> bool:
        """Raise RuntimeError if the program is missing; ComfyUI asks before a workflow begins.

        It shows the message of the error; one that is returned, only for inputs that the signature names.
        """
        find_program()
        return True

    def paint(self, photo: torch.Tensor, **inputs: Any) -> tuple[torch.Tensor]:
        """Return one painting, IMAGE [B, H, W, 3 or 4], for each photo.

        Args:
            photo: IMAGE [B, H, W, 3 or 4].
            **inputs: Further inputs, by their name in `INPUT_TYPES`; those that are not connected may be
                missing.

        Raises:
            ValueError: A picture or mask cannot be used.
            RuntimeError: The program is not installed, or it failed; with its message.
        """
        program, own_flags = find_program()
        photos = to_pixels("photo", photo)
        styles, masks = _read_styles(inputs)
        batches = {"photo": photos, **styles}
        count = max(map(len, batches.values()))
        # All of the batch is checked before the first painting begins.
        pictures = [
            {name: batch[index % len(batch)] for name, batch in batches.items()} for index in range(count)
        ]
        regions = [
            fill_regions(
                {number: None if mask is None else mask[index % len(mask)] for number, mask in masks.items()},
                photos.shape[1:3],
            )
            for index in range(count)
        ]
        # The program may need the memory of the GPU.
        comfy.model_management.unload_all_models()
        comfy.model_management.soft_empty_cache()
        command = [*program, *_flags(inputs, own_flags)]
        bar = comfy.utils.ProgressBar(count)
        paintings = [
            _paint_one(command, pictures[index], regions[index], bar, index, count) for index in range(count)
        ]
        return (torch.from_numpy(np.stack(paintings)),)


def _read_styles(
    inputs: Mapping[str, Any],
) -> tuple[dict[str, np.ndarray], dict[int, np.ndarray | None]]:
    """Return name → batch of pixels, and number → batch of masks or None, of the styles that are connected.

    Raises:
        ValueError: A picture or mask cannot be used, or a mask has no style.
    """
    styles: dict[str, np.ndarray] = {}
    masks: dict[int, np.ndarray | None] = {}
    for number in range(1, MOST_STYLES + 1):
        name, mask = f"style_{number}", inputs.get(f"mask_{number}")
        if inputs.get(name) is not None:
            styles[name] = to_pixels(name, inputs[name])
            masks[number] = None if mask is None else to_masks(f"mask_{number}", mask)
        elif mask is not None:
            raise ValueError(f"mask_{number} is connected, and {name} is not: connect both, or neither")
    if not styles:
        raise ValueError("no style is connected: expected the picture whose style is painted at style_1")
    return styles, masks


def _flags(inputs: Mapping[str, Any], own_flags: Sequence[str]) -> list[str]:
    """Return the flags of a painting, without its files; `own_flags` replace others of the same name.

    A picture to look at is saved now and then, but no checkpoint, which would be much larger.
    """
    seconds = SECONDS_PER_PREVIEW * max(1.0, (inputs["size"] / 1024) ** 2)
    values = {FLAGS.get(name, name): inputs[name] for name in SETTINGS} | {
        "weights_dir": Path(folder_paths.models_dir) / "neural_style_tf",
        "log_every": 5,
        "save_every": 0,
        "save_minutes": f"{seconds / 60:.4f}",
        "checkpoints": "false",
    }
    own = {flag.lstrip("-").partition("=")[0] for flag in own_flags}
    return [*(f"--{name}={value}" for name, value in values.items() if name not in own), *own_flags]


def _paint_one(
    command: Sequence[str],
    pixels: Mapping[str, np.ndarray],
    regions: Sequence[np.ndarray],
    bar: comfy.utils.ProgressBar,
    index: int,
    count: int,
) -> np.ndarray:
    """Return a painting, float32 [H, W, 3 or 4], 0–1.

    Args:
        command: The command without its files.
        pixels: `photo` and the name of each style → uint8 [H, W, 3 or 4].
        regions: The region of each style, uint8 [h, w]; empty if all go everywhere.
        bar: ComfyUI's progress bar.
        index: How many paintings of the batch are done.
        count: How many there are in the batch.
    """
    temporary = Path(folder_paths.get_temp_directory())
    try:
        temporary.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix="neural_style_tf_", dir=temporary, ignore_cleanup_errors=True
        ) as created:
            folder = Path(created)
            files = [
                f"--{'content' if name == 'photo' else 'style'}={save(picture, folder / f'{name}.png')}"
                for name, picture in pixels.items()
            ]
            files += [
                f"--content_mask={save(region, folder / f'mask_{number}.png')}"
                for number, region in enumerate(regions, 1)
            ]
            result = folder / "run" / "result.png"
            look = _Look(bar, result, index, count)
            run([*command, *files, "--output_dir=run"], folder, look)
            look.end()
            return load(result, channels=pixels["photo"].shape[2])
    except OSError as error:
        raise RuntimeError(
            f"the files of a painting cannot be kept in {temporary}: {error.strerror or error}"
        ) from error


class _Look:
    """Shows how far a painting is, with a preview when there is a new one, and notices interrupts."""

    def __init__(self, bar: comfy.utils.ProgressBar, result: Path, index: int, count: int) -> None:
        self._bar, self._result, self._index, self._count = bar, result, index, count
        self._shown = 0, 0  # step and time of the picture that were shown last

    def __call__(self, progress: Progress) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        saved = self._result.stat().st_mtime_ns if self._result.exists() else 0
        if not progress.planned or (progress.step, saved) == self._shown:
            return
        preview = to_preview(self._result) if saved > self._shown[1] else None
        self._shown = progress.step, saved
        done = self._index * progress.planned + progress.step
        self._bar.update_absolute(done, self._count * progress.planned, preview)

    def end(self) -> None:
        """Show that the painting is done."""
        self._bar.update_absolute(self._index + 1, self._count, to_preview(self._result))
