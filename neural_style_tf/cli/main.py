"""The command line: from settings to files; callbacks are connected here."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neural_style_tf.cli import flags
from neural_style_tf.cli.error_messages import explain
from neural_style_tf.cli.signals import Interrupts
from neural_style_tf.config.schema import Config, Job
from neural_style_tf.distributed.cluster_config import find_worker
from neural_style_tf.errors import RunError, UserError
from neural_style_tf.images import Picture, load_image
from neural_style_tf.runs.manifest import Manifest, ManifestWriter, facts_in_common, flag_lines
from neural_style_tf.runs.output_dir import OutputFolder
from neural_style_tf.runs.outputs import check_outputs, clear_the_way, find_checkpoint, make_listeners
from neural_style_tf.runs.replay import changes_since, check_files, read_run
from neural_style_tf.runs.resume import check_same_run, read_manifest, step_of, with_its_tile
from neural_style_tf.sweeps.runner import Sweep
from neural_style_tf.tiling.memory_model import LARGE_PICTURE
from neural_style_tf.tiling.system_memory import check_start
from neural_style_tf.transfer.initial import WORDS, init_sha256, initial_pixels
from neural_style_tf.transfer.picture_sizes import content_size, longest_of_style, style_size
from neural_style_tf.transfer.records import Listener
from neural_style_tf.transfer.scales import plan_scales
from neural_style_tf.utils.atomic import write_text
from neural_style_tf.utils.console import Console, duration
from neural_style_tf.weights import Weights
from neural_style_tf.weights.resolve import check_spec, load_weights

if TYPE_CHECKING:
    from neural_style_tf.distributed.replicas import Cluster
    from neural_style_tf.transfer.session import Session

SUCCESS, FAILURE, USAGE_ERROR = 0, 1, 2


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The program's name and its arguments; default: those of the process.

    Returns:
        The exit code: 0; 1 for a run that could not go on; 2 for a mistake of the user; 130 and 143
        when interrupted or terminated, with everything saved.
    """
    argv = list(sys.argv if argv is None else argv)
    console = Console()
    if any(argument in ("--help", "-h", "-help", "--helpfull", "--helpshort") for argument in argv[1:]):
        console.say(flags.help_text())
        return SUCCESS
    interrupts = Interrupts()
    try:
        with interrupts.collected():
            line = flags.read(argv)
            if line.is_sweep:
                return _sweep(line, console, interrupts)
            config, job = line.settings()
            console.quiet = job.quiet
            single = _Run(config, job, Machine(), console, interrupts)
            if line.sweep.dry_run:
                console.say(flags.command(config, job))
                return SUCCESS
            return single.execute()
    except UserError as error:
        console.error(str(error))
        return USAGE_ERROR
    except RunError as error:
        # For a file or memory the cause says what helps; for TensorFlow the error itself is clearer.
        cause = error.__cause__ if isinstance(error.__cause__, OSError | MemoryError) else None
        console.error(explain(cause) or str(error))
    except KeyboardInterrupt:
        console.error("interrupted")
        return interrupts.exit_code
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        console.error(line)
    return FAILURE


def _sweep(line: flags.CommandLine, console: Console, interrupts: Interrupts) -> int:
    """Run a command line that asks for several runs; return the exit code."""
    axes = line.axes()
    _, job = line.settings({axis.name: axis.values[0] for axis in axes})
    console.quiet = job.quiet
    if job.resume:
        raise UserError("--resume: a sweep goes on by itself when its command is given again: leave it out")
    if find_worker(job.distribute, os.environ).workers > 1:
        raise UserError("--sweep: the runs of a sweep take one machine: --distribute=none, or mirrored")
    swept = {axis.name for axis in axes}
    names = ["" if role in swept else Path(getattr(job, role)).stem for role in ("content", "style")]
    default = Path("output") / "-".join([*filter(None, names), "sweep"])
    machine = Machine(several=True)
    sweep = Sweep(
        axes,
        [name.strip() for name in line.sweep.sweep_zip.split(",") if name.strip()],
        root=Path(job.output_dir or default),
        base=line.base(swept),
        settings=line.settings,
        make_run=lambda config, job: _Run(config, job, machine, console, interrupts),
        explain=explain,
        console=console,
        received=interrupts.received,
    )
    planned = sweep.check()
    if line.sweep.dry_run:
        for settings in planned:
            console.say(flags.command(*settings))
        return SUCCESS
    code = sweep.execute(retry_failed=line.sweep.retry_failed)
    return interrupts.exit_code if interrupts.received else code


class Machine:
    """What the runs of a process share: TensorFlow, started once, the cluster, pictures, compiled steps.

    Args:
        several: Whether there will be several runs, so that it pays to keep what a further one can use.
    """

    PICTURES, LARGE = 4, 64 * 2**20

    def __init__(self, *, several: bool = False) -> None:
        self.device, self.cluster = "", None
        self._several, self._session = several, None
        self._weights: tuple[tuple[str, str], Weights] | None = None
        self._pictures: dict[tuple, Picture] = {}

    def load_image(self, path: str, **reading: Any) -> Picture:
        """Return a picture as `images.load_image`; the last few of several runs are kept."""
        key = (path, *sorted(reading.items()))
        picture = self._pictures.pop(key, None) or load_image(path, **reading)
        if self._several and picture.pixels.nbytes <= self.LARGE:
            self._pictures[key] = picture
            for oldest in list(self._pictures)[: -self.PICTURES]:
                del self._pictures[oldest]
        return picture

    def load_weights(self, job: Job, *, say: Callable[[str], None]) -> Weights:
        """Return the weights that a run asks for; those of the run before are kept, and said once."""
        asked = (job.weights, job.weights_dir)
        if self._weights is None or self._weights[0] != asked:
            # Two networks need not be in memory at once.
            self._weights = self._session = None
            weights = load_weights(job.weights, folder=Path(job.weights_dir), log=say)
            say(f"weights: {weights.source}{f' ({weights.generation})' if weights.generation else ''}")
            self._weights = asked, weights
        return self._weights[1]

    def session(self) -> Session:
        """Return what the runs with the weights that were loaded last share."""
        from neural_style_tf.transfer.session import Session

        if self._session is None:
            keep = None if self._several else 0
            self._session = Session(self._weights[1], cluster=self.cluster, keep_bytes=keep)
        return self._session


class _Run:
    """One run of the command line, from checked files to written ones."""

    def __init__(
        self, config: Config, job: Job, machine: Machine, console: Console, interrupts: Interrupts
    ) -> None:
        self._console, self._interrupts, self._machine = console, interrupts, machine
        self._worker = find_worker(job.distribute, os.environ)
        console.quiet = console.quiet or self._worker.rank > 0
        self._initial: np.ndarray | None = None
        self._pictures = _load_pictures(config, job, machine)
        default = Path("output") / f"{Path(job.content).stem}-{Path(job.style).stem}"
        self._job = job.replace(output_dir=job.output_dir or str(default))
        self._config = config
        self._earlier: Manifest | None = None
        self._repeated: Manifest | None = None
        self._check()

    @property
    def _cluster(self) -> Cluster:
        return self._machine.cluster

    def check_finished(self) -> None:
        """Refuse a finished run in the output folder that was made with other settings or files."""
        earlier = read_manifest(Path(self._job.output_dir))
        config = with_its_tile(earlier, self._config)
        check_same_run(earlier, config, self._hashes, result=self._size)

    def execute(self) -> int:
        """Run; return the exit code."""
        if self._worker.rank > 0:
            return self._transfer(None)
        folder = OutputFolder(self._job.output_dir, overwrite=self._job.overwrite, resume=self._job.resume)
        try:
            if self._job.resume and folder.holds_run():
                self._earlier = read_manifest(folder.path)
                # Several workers must have the same tile, and each decides for itself.
                if self._worker.workers == 1:
                    self._config = with_its_tile(self._earlier, self._config)
                check_same_run(self._earlier, self._config, self._hashes, result=self._size)
            return self._transfer(folder)
        finally:
            folder.release()

    def _check(self) -> None:
        """Find every mistake that can be found without TensorFlow."""
        job, config = self._job, self._config
        if job.resume and job.overwrite:
            raise UserError("--resume goes on with a run and --overwrite replaces it: give one of them")
        content, style = (self._pictures[role].pixels for role in ("content", "style"))
        self._size = content.shape[:2]
        plan_scales(self._size, style_size(style.shape[:2], self._size, config), config)
        reading = {"max_pixels": job.max_pixels, "allow_truncated": job.allow_truncated}
        if config.init not in WORDS:
            self._initial = initial_pixels(config, content, style, **reading)
        self._hashes = {role: picture.sha256 for role, picture in self._pictures.items()}
        if self._initial is not None:
            self._hashes["init"] = init_sha256(config)
        if job.from_run:
            self._repeated = read_run(job.from_run)
            check_files(self._repeated, self._hashes, job.from_run)
        check_spec(job.weights, Path(job.weights_dir))
        if self._worker.rank == 0:
            check_outputs(job, config, self._pictures["content"], say=self._console.say)

    def _transfer(self, folder: OutputFolder | None) -> int:
        """Run, as the chief in a folder, as another worker without; return the exit code."""
        device, weights = self._start()
        if self._interrupts.received:
            # Its KeyboardInterrupt was swallowed, as by the machinery of imports.
            raise KeyboardInterrupt
        try:
            return self._steps(folder, device, weights)
        except Exception as error:
            self._cluster.explain(error)
            raise

    def _steps(self, folder: OutputFolder | None, device: str, weights: Weights) -> int:
        self._cluster.check_same(facts_in_common(self._config, self._hashes, weights))
        checkpoint = self._checkpoint(folder, weights) if folder else None
        self._choose_tile()
        from neural_style_tf.transfer.inputs import Inputs

        listeners: list[Listener] = []
        report = record = None
        received = self._interrupts.received

        def tick(step: int) -> bool:
            for listener in listeners:
                listener.on_tick(step)
            received.extend(next(filter(None, self._cluster.all_gather(received)), [])[len(received) :])
            return bool(received)

        pictures = (self._pictures[role].pixels for role in ("content", "style"))
        inputs = Inputs(*pictures, self._initial)
        steps = self._machine.session().run(inputs, self._config, tick=tick, resume=checkpoint)
        del inputs
        # The run forgets the pictures when they are of no more use, and so must we.
        self._pictures = {role: picture.without_pixels() for role, picture in self._pictures.items()}
        self._initial = None
        try:
            for record in steps:
                if folder is None:
                    self._interrupts.graceful = True
                elif report is None:
                    # Not before a first step exists: until then an earlier run is left alone.
                    report = self._report(folder, weights, device, checkpoint)
                    listeners += self._listeners(folder, report, step_of(checkpoint))
                    self._interrupts.graceful = True
                for listener in listeners:
                    listener.on_step(record)
            status = "interrupted" if received else "finished"
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else f"failed: {error}"
            raise
        finally:
            for listener in listeners:
                with contextlib.suppress(OSError):
                    listener.on_end()
            if report is not None:
                with contextlib.suppress(OSError):
                    report.finish(status)
        # Barrier: keep workers alive until the chief has written everything.
        self._cluster.all_gather(status)
        if folder is not None:
            result = folder.path / "result.png"
            self._console.say(
                f"{status} after {duration(record.seconds)}: {result} (step {record.best_step})"
            )
        return self._interrupts.exit_code if received else SUCCESS

    def _start(self) -> tuple[str, Weights]:
        """Import TensorFlow and load the weights; print what is used."""
        from neural_style_tf.utils.runtime import start_tensorflow, unused_gpu

        say = self._console.say
        for role, picture in self._pictures.items():
            height, width = picture.pixels.shape[:2]
            say(f"{role}: {picture.path}, {width}×{height}")
            for note in picture.notes:
                say(f"  {note}")
        check_start()
        height, width = self._size
        if max(self._size) < self._config.sizes.image_size:
            say(
                f"result: {width}×{height}, the size of the photo, which is smaller than "
                f"--image_size={self._config.sizes.image_size}; --enlarge paints larger than the photo"
            )
        if not self._machine.device:
            self._machine.device = start_tensorflow(
                verbose=self._job.verbose, sparing=height * width >= LARGE_PICTURE, join=self._join
            )
            say(f"device: {self._machine.device}")
            if note := unused_gpu():
                say(f"  {note}")
        device = self._machine.device
        weights = self._machine.load_weights(self._job, say=say)
        if self._repeated:
            check_files(self._repeated, {"weights": weights.sha256}, self._job.from_run)
            for line in changes_since(self._repeated, device):
                say(line)
        return device, weights

    def _checkpoint(self, folder: OutputFolder, weights: Weights) -> str | None:
        """Return the checkpoint to go on from, if that is asked for and there is one."""
        if self._earlier is None:
            self._console.say(f"writing to {folder.path}{os.sep}")
            return None
        hashes = self._hashes | {"weights": weights.sha256}
        check_same_run(self._earlier, self._config, hashes, result=self._size)
        return find_checkpoint(folder, say=self._console.say)

    def _report(
        self, folder: OutputFolder, weights: Weights, device: str, checkpoint: str | None
    ) -> ManifestWriter:
        clear_the_way(folder, checkpoint)
        report = ManifestWriter(
            folder.path / "run.json",
            self._config,
            self._job,
            inputs=self._pictures,
            init=self._hashes.get("init"),
            weights=weights,
            device=device,
            earlier=self._earlier,
        )
        write_text(folder.path / "flags.txt", flag_lines(self._config, self._job))
        return report

    def _listeners(self, folder: OutputFolder, report: ManifestWriter, after: int) -> list[Listener]:
        alpha = self._pictures["content"].alpha
        return make_listeners(
            folder, report, self._config, self._job, self._console, alpha=alpha, after=after
        )

    def _choose_tile(self) -> None:
        """Choose the tile once, and record it: a resumed or repeated run has the same tiles."""
        from neural_style_tf.distributed.sharding import smallest_tile
        from neural_style_tf.tiling.planner import check_memory, plan_memory

        room = plan_memory(self._config, self._size)
        room = room._replace(tile=smallest_tile(self._cluster, room.tile))
        self._console.say(str(room))
        check_memory(self._config, self._size, room.tile)
        self._config = self._config.replace(tile=str(room.tile or "none"))

    def _join(self) -> None:
        """Become one of the cluster's workers, if there is one."""
        from neural_style_tf.distributed.replicas import join

        job = self._job
        self._machine.cluster = join(
            job.distribute, self._worker, timeout=job.worker_timeout, say=self._console.error
        )


def _load_pictures(config: Config, job: Job, machine: Machine) -> dict[str, Picture]:
    """Read content and style, no larger than they are of use."""
    reading = {"max_pixels": job.max_pixels, "allow_truncated": job.allow_truncated}
    content = machine.load_image(
        job.content, longest=config.sizes.image_size, enlarge=config.sizes.enlarge, **reading
    )
    result = content_size(content.pixels.shape[:2], config)
    style = machine.load_image(job.style, longest=longest_of_style(result, config), **reading)
    return {"content": content, "style": style}
