"""Paint the scenes of a clip as the runs of a sweep, so that several processes or machines share them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neural_style_tf.config.schema import Config, Job, SweepConfig
from neural_style_tf.errors import UserError, show
from neural_style_tf.jobs.clip import write_result
from neural_style_tf.jobs.machine import Machine
from neural_style_tf.jobs.run import Run
from neural_style_tf.jobs.signals import Interrupts
from neural_style_tf.runs.manifest import from_the_root
from neural_style_tf.runs.resume import is_finished
from neural_style_tf.sweeps.folder import SweepFolder
from neural_style_tf.sweeps.space import Axis
from neural_style_tf.transfer.scales import fit_content
from neural_style_tf.utils.console import Console
from neural_style_tf.utils.files import exists, write_bytes
from neural_style_tf.utils.numbered import is_numbered

if TYPE_CHECKING:
    from neural_style_tf.video.flow import Flow
    from neural_style_tf.video.read import Frame

SCENES = ("start_frame", "end_frame")
"""The settings that are swept: each scene's run has its own values of them."""


def find_scenes(frames: Iterable[Frame], config: Config, flow: Flow) -> list[tuple[int, int]]:
    """Return the numbers of the first and the last frame of each scene.

    A new scene begins where `paint_clip` would begin one: where the size changes, or flow is not reliable.
    """
    from neural_style_tf.video.flow import CUT, reliability

    scenes: list[tuple[int, int]] = []
    before: np.ndarray | None = None
    for frame in frames:
        # Flow is computed at the size of the painting.
        source = fit_content(frame.pixels, config)
        same = before is not None and before.shape == source.shape
        if same:
            backward, forward = flow(scenes[-1][1], frame.number, before, source)
            same = reliability(backward, forward).mean() >= CUT
        begin = scenes.pop()[0] if same else frame.number
        scenes.append((begin, frame.number))
        before = source
    return scenes


class Scenes:
    """The scenes of a clip as runs of a sweep; raises `UserError` where a run of the whole clip would."""

    def __init__(self, config: Config, job: Job, console: Console) -> None:
        if config.loss.match != "none":
            raise UserError(
                f"--match={config.loss.match} finds the regions of a clip in its first frame, but scenes "
                "painted apart would have others: leave out --match, or --jobs, --shard and --ray"
            )
        # This finds each mistake that the runs would find, before looking for scenes takes minutes.
        run = Run(config, job.replace(output=""), Machine(), Interrupts())
        self._work, self._size = run.work, run.size
        self._config, self._job, self._console = config, job, console
        # Finding scenes needs none of the pictures that the run has read.
        del run
        console.say("looking for scenes")
        scenes = find_scenes(self._work.frames(), config, self._work.flow)
        console.say(f"scenes: {len(scenes)}")
        firsts, lasts = (tuple(str(scene[end]) for scene in scenes) for end in (0, 1))
        self.axes = [Axis("start_frame", firsts), Axis("end_frame", lasts)]

    def check(self, root: Path, sweep: SweepConfig, shard: tuple[int, int]) -> None:
        """Raise `UserError` if flags have no use here, `--output` cannot be written, or `root` is taken."""
        for name in ("sweep_zip", "sweep_samples"):
            if getattr(sweep, name):
                raise UserError(f"--{name} is about --sweep, and there is none: leave it out")
        if self._job.overwrite and shard[1] > 1:
            raise UserError(
                "--overwrite: a --shard would join new scenes with old ones: give another --output_dir"
            )
        if is_numbered(self._job.output):
            raise UserError(
                "--output: pictures of frames are written by one process: leave out --jobs, --shard and "
                "--ray, or paint each scene with --start_frame and --end_frame"
            )
        # The clip that an earlier `join` wrote may be replaced.
        job, written = self._job.replace(output_dir=str(root)), SweepFolder(root).joined
        self._work.check_output(job, self._config, size=self._size, written=written)
        taken = [name for name in ("run.json", "result.mp4") if exists(root / name)]
        if "run.json" in taken or (taken and not exists(root / "sweep.json")):
            raise UserError(
                f"{show(root)} holds {taken[0]} of something else than the scenes of a clip: give another "
                "--output_dir"
            )

    def join(self, root: Path, folders: Sequence[str]) -> None:
        """Join the scenes in `folders` of `root`, in order, into one clip and its metrics.

        If scenes are missing, only print how many are painted.
        """
        painted = [root / folder for folder in folders]
        jobs = [self._job.replace(output_dir=str(folder), overwrite=False) for folder in painted]
        done = sum(map(is_finished, jobs))
        if done < len(painted):
            self._console.say(f"scenes painted: {done} of {len(painted)}; result.mp4 follows the last")
            return
        if self._job.output:
            # Noted first: if this command dies while it writes the two files, a later one may replace them.
            SweepFolder(root).note_joined(from_the_root(self._job.output))
        write_result(root, painted, self._work.clip, self._config, self._job, self._console.say)
        metrics = [(folder / "metrics.jsonl").read_bytes() for folder in painted]
        write_bytes(root / "metrics.jsonl", b"".join(metrics))
        self._console.say(f"joined: {root / 'result.mp4'}")
