"""Check the output files before a run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from neural_style_tf.config.schema import Config, Job
from neural_style_tf.errors import UserError, show
from neural_style_tf.images import Picture, check_output, deep, exr
from neural_style_tf.images.exr import Original
from neural_style_tf.images.files import expand_files
from neural_style_tf.runs.manifest import from_the_root
from neural_style_tf.runs.output_dir import files_of_a_run
from neural_style_tf.runs.resume import earlier_manifest
from neural_style_tf.transfer.initial import WORDS
from neural_style_tf.utils.files import exists
from neural_style_tf.utils.numbered import frame_files, is_numbered

Say = Callable[[str], None]


def check_outputs(job: Job, config: Config, content: Picture, *, size: tuple[int, int], say: Say) -> None:
    """Raise UserError if an output file of a picture cannot be written, or would destroy a file.

    `size` is (H, W) of the result. `say` prints what the format of `--output` cannot hold, such as
    transparency.
    """
    if not job.output_dir.isprintable():
        raise UserError(f"--output_dir: {job.output_dir!r} is not a name that every program can read")
    check_not_read(job, "result.png", config.init)
    if job.bits == "16":
        deep.check_libvips()
    if not job.output:
        return
    if is_numbered(job.output):
        raise UserError(
            f"--output: {show(job.output)} names the frames of a clip, and this is one picture: write the "
            "number itself, or give --frames"
        )
    check_output(job.output, size=size)
    check_not_there(job, written=output_of(job))
    if job.bits == "16" and not job.output.lower().endswith((".png", ".tif", ".tiff", ".exr")):
        say(f"{job.output}: this format holds 8 bits a channel; .png and .tiff hold 16")
    if job.dpi and job.output.lower().endswith(".webp"):
        say(f"{job.output}: WebP cannot hold --dpi")
    if content.profile and job.output.lower().endswith(".exr"):
        raise UserError(f"{job.output}: {exr.NO_PROFILE}")
    say_left_out(job, content.original, size, say)
    if content.alpha is not None and job.output.lower().endswith((".jpg", ".jpeg")):
        say(f"{job.output}: JPEG cannot hold the transparency of {job.content}")


def say_left_out(job: Job, original: Original | None, size: tuple[int, int], say: Say) -> None:
    """Print which channels of the photo an OpenEXR file of another size, `size` (H, W), cannot keep."""
    if original and original.further and original.size != size and job.output.lower().endswith(".exr"):
        names = ", ".join(original.further[:8]) + (", …" if original.further[8:] else "")
        say(
            f"{job.output}: {names} of {job.content} are left out: what is not painted is kept only at the "
            "photo's own size, with --image_size=0"
        )


def check_not_read(job: Job, result: str, init: str) -> None:
    """Raise UserError if the run would overwrite or remove a file that it reads.

    `result` is the name of the result in the output folder; `init` is the setting of that name.
    """
    names = [file for name in job.pictures.values() for file in (name, *expand_files(name))]
    names += [init] if init not in WORDS else []
    inputs = [Path(file) for file in names if exists(file)]
    for output in (*frame_files(job.output), os.path.join(job.output_dir, result)):  # noqa: PTH118
        if exists(output) and any(Path(output).samefile(file) for file in inputs):
            raise UserError(f"{show(output)} is read and would be overwritten: give another name")
    if not job.overwrite:
        return
    removed = {path.resolve() for path in files_of_a_run(Path(job.output_dir))}
    for file in inputs:
        if file.resolve() in removed:
            raise UserError(
                f"{show(file)} is read, and --overwrite would remove it with the run in "
                f"{show(job.output_dir)}: give another --output_dir"
            )


def check_not_there(job: Job, *, written: str, files: Sequence[str] = ()) -> None:
    """Raise UserError if `--output`, or one of the `files` that it stands for, exists and must be kept.

    It may be replaced with `--overwrite`, or if the resumed run itself wrote it: `written`, from `output_of`.
    """
    output = next((path for path in map(Path, files or [job.output]) if path.exists()), None)
    if output is None or job.overwrite:
        return
    if not job.resume and not written:
        raise UserError(f"--output: {show(output)} exists; give another name, or --overwrite")
    # `files` of numbered frames have other names than `written`.
    if not (from_the_root(job.output) == written or (exists(written) and output.samefile(written))):
        raise UserError(
            f"--output: {show(output)} exists, and the run to resume did not write it: give another name"
        )


def output_of(job: Job) -> str:
    """Return the absolute path of `--output` in the earlier part of a resumed run; "" if there was none."""
    if job.resume:
        with contextlib.suppress(UserError):
            return str(earlier_manifest(Path(job.output_dir)).job.get("output", ""))
    return ""
