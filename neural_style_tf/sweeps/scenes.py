"""The scenes of a clip as runs of a sweep, so that processes and machines share them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from neural_style_tf.config.schema import Config, Job, SweepConfig
from neural_style_tf.errors import UserError, show
from neural_style_tf.jobs.clip import ClipRun, write_result
from neural_style_tf.jobs.machine import Machine
from neural_style_tf.jobs.signals import Interrupts
from neural_style_tf.runs.manifest import from_the_root
from neural_style_tf.runs.resume import is_finished
from neural_style_tf.sweeps.folder import SweepFolder
from neural_style_tf.sweeps.space import Axis
from neural_style_tf.utils.atomic import write_bytes
from neural_style_tf.utils.console import Console
from neural_style_tf.utils.paths import exists

SCENES = ("start_frame", "end_frame")
"""What tells the run of a scene from those of others."""


class Scenes:
    """The scenes of a clip.

    Args:
        config: The settings of the whole clip.
        job: Its files.
        console: For what it says.

    Raises:
        UserError: A mistake that the run of the whole clip would find, too.
        RunError: A frame cannot be read.
    """

    def __init__(self, config: Config, job: Job, console: Console) -> None:
        from neural_style_tf.video.scenes import find_scenes

        # Finds every mistake that the runs would find, before minutes go by.
        whole = ClipRun(config, job.replace(output=""), Machine(), Console(quiet=True), Interrupts())
        self._config, self._job, self._whole, self._console = config, job, whole, console
        console.say("looking for scenes")
        found = find_scenes(whole.frames(), config, whole.flow)
        whole.forget_pictures()
        console.say(f"scenes: {len(found)}")
        firsts, lasts = (tuple(str(scene[end]) for scene in found) for end in (0, 1))
        self.axes = [Axis("start_frame", firsts), Axis("end_frame", lasts)]

    def check(self, root: Path, asked: SweepConfig, shard: tuple[int, int]) -> None:
        """Refuse a folder with something else, an `--output` that cannot be written, flags without a use.

        Args:
            root: The folder of the sweep.
            asked: What was asked for beside the scenes.
            shard: Which part of them is painted.

        Raises:
            UserError: Saying which.
        """
        for name in ("sweep_zip", "sweep_samples"):
            if getattr(asked, name):
                raise UserError(f"--{name} is about --sweep, and there is none: leave it out")
        if self._job.overwrite and shard[1] > 1:
            raise UserError(
                "--overwrite: a --shard would join new scenes with old ones: give another --output_dir"
            )
        # What an earlier join has written is written again.
        self._whole.check_output(self._job.replace(output_dir=str(root)), written=SweepFolder(root).joined)
        taken = [name for name in ("run.json", "result.mp4") if exists(root / name)]
        if "run.json" in taken or (taken and not exists(root / "sweep.json")):
            raise UserError(
                f"{show(root)} holds {taken[0]} of something else than the scenes of a clip: give another "
                "--output_dir"
            )

    def join(self, root: Path, folders: Sequence[str]) -> None:
        """Write the clip and its metrics once all scenes are painted.

        Args:
            root: The folder of the sweep.
            folders: Names of those of its runs, in the order of the clip.

        Raises:
            RunError: The encoder fails, or a file cannot be written.
            OSError: The metrics cannot be joined.
        """
        painted = [root / folder for folder in folders]
        done = sum(is_finished(self._job.replace(output_dir=str(one), overwrite=False)) for one in painted)
        if done < len(painted):
            self._console.say(f"scenes painted: {done} of {len(painted)}; result.mp4 follows the last")
            return
        if self._job.output:
            # First: it may be half of the work.
            SweepFolder(root).note_joined(from_the_root(self._job.output))
        write_result(root, painted, self._whole.clip, self._config, self._job, self._console.say)
        write_bytes(root / "metrics.jsonl", b"".join((one / "metrics.jsonl").read_bytes() for one in painted))
        self._console.say(f"joined: {root / 'result.mp4'}")
