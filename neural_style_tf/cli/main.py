"""The command line: from settings to files; callbacks are connected here."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neural_style_tf.cli import flags
from neural_style_tf.cli.error_messages import line_of
from neural_style_tf.cli.signals import Interrupts
from neural_style_tf.config.schema import Config, Job, SweepConfig, numbered
from neural_style_tf.distributed.cluster_config import find_worker
from neural_style_tf.errors import UserError, show
from neural_style_tf.images import Picture, fill_hidden, load_image
from neural_style_tf.images.masks import load_mask, stretched, with_opacity
from neural_style_tf.runs.manifest import Manifest, ManifestWriter, facts_in_common, flag_lines
from neural_style_tf.runs.output_dir import FolderInUse, OutputFolder
from neural_style_tf.runs.outputs import check_outputs, clear_the_way, find_checkpoint, make_listeners
from neural_style_tf.runs.replay import changes_since, check_files, read_run
from neural_style_tf.runs.resume import (
    MASKED_SINCE,
    check_same_run,
    check_transparency,
    read_manifest,
    step_of,
    with_its_tile,
)
from neural_style_tf.sweeps.executors import (
    Event,
    Outcome,
    Report,
    Supplies,
    Task,
    find_shard,
    one_after_another,
    share_out,
    side_by_side,
)
from neural_style_tf.sweeps.folder import continued, is_finished
from neural_style_tf.sweeps.runner import Executor, Sweep
from neural_style_tf.tiling.memory_model import LARGE_PICTURE, estimate_run
from neural_style_tf.tiling.system_memory import available_bytes, check_start
from neural_style_tf.transfer.initial import WORDS, init_sha256, initial_pixels
from neural_style_tf.transfer.masks import Masks, check_count, check_masks
from neural_style_tf.transfer.picture_sizes import content_size, longest_of_style, style_size
from neural_style_tf.transfer.records import Listener, StepRecord
from neural_style_tf.transfer.scales import plan_scales
from neural_style_tf.utils.atomic import write_text
from neural_style_tf.utils.console import Console, duration
from neural_style_tf.utils.runtime import cores
from neural_style_tf.weights import Weights
from neural_style_tf.weights.resolve import check_spec, load_weights

if TYPE_CHECKING:
    from neural_style_tf.distributed.replicas import Cluster
    from neural_style_tf.transfer.session import Session

SUCCESS, FAILURE, USAGE_ERROR = 0, 1, 2
PROCESS_BYTES = 600 * 2**20
"""Of a process with TensorFlow imported and the weights read."""


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
            line.check_single()
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
    except KeyboardInterrupt:
        console.error("interrupted")
        return interrupts.exit_code
    except Exception as error:
        line = line_of(error)
        if line is None:
            raise
        console.error(line)
    return FAILURE


def _sweep(line: flags.CommandLine, console: Console, interrupts: Interrupts) -> int:
    """Run a command line that asks for several runs; return the exit code."""
    axes, asked = line.axes(), line.sweep
    job = line.files()
    console.quiet = job.quiet
    if job.resume:
        raise UserError("--resume: a sweep goes on by itself when its command is given again: leave it out")
    if find_worker(job.distribute, os.environ).workers > 1:
        raise UserError("--sweep: the runs of a sweep take one machine: --distribute=none, or mirrored")
    shard = find_shard(asked.shard, os.environ)
    machine = Machine(several=True)
    executor = _executor(asked, job, machine, console, interrupts)
    swept = {axis.name for axis in axes}
    named = job.replace(**{role: "" for role in ("content", "style") if role in swept})
    default = Path("output") / "-".join(filter(None, [named.title, "sweep"]))
    sweep = Sweep(
        axes,
        [name.strip() for name in asked.sweep_zip.split(",") if name.strip()],
        root=Path(job.output_dir or default),
        base=line.base(swept),
        settings=line.settings,
        make_run=lambda config, job: _Run(config, job, machine, console, interrupts),
        console=console,
    )
    tasks = sweep.check()
    if asked.dry_run:
        for task in tasks:
            console.say(flags.command(task.config, continued(task.job)))
        return SUCCESS
    code = sweep.execute(executor, shard=shard, retry_failed=asked.retry_failed)
    if interrupts.received:
        console.say("interrupted: the same command goes on with the sweep")
    return interrupts.exit_code if interrupts.received else code


def _executor(
    asked: SweepConfig, job: Job, machine: Machine, console: Console, interrupts: Interrupts
) -> Executor:
    """Return what paints the runs: in this process, in several, or on a cluster."""
    received = interrupts.received
    if asked.ray and asked.jobs > 1:
        raise UserError("--jobs and --ray both share out the runs: give one of them")
    if asked.shared_output and not asked.ray:
        raise UserError("--shared_output says what the machines of a cluster see: it needs --ray")
    if asked.ray:
        from neural_style_tf.sweeps.ray_cluster import Cluster, on_ray

        cluster = Cluster(asked.ray, asked.ray_cpus, asked.shared_output)
        cluster.check()

        def network(job: Job) -> Weights:
            return load_weights(job.weights, folder=Path(job.weights_dir), log=console.say)

        def on_cluster(tasks: Sequence[Task]) -> Iterator[Event]:
            # The tasks are asked to save and end.
            interrupts.graceful = True
            return on_ray(tasks, Painter, cluster, network, received)

        return on_cluster
    if asked.jobs > 1:
        environments = share_out(asked.jobs, os.environ)
        memory = available_bytes()
        # Whole cores; a GPU is shared with nobody.
        threads = job.threads or max(1, cores() // asked.jobs)
        make_painter = functools.partial(
            Painter, memory=None if memory is None else memory // asked.jobs, threads=threads
        )

        def in_processes(tasks: Sequence[Task]) -> Iterator[Event]:
            interrupts.graceful = True
            return side_by_side(tasks, make_painter, environments, received)

        return in_processes
    painter = Painter(machine, console, interrupts)
    return lambda tasks: one_after_another(tasks, painter, received)


class Painter:
    """Paints the runs of a sweep in this process; they share what they can.

    Args:
        machine: What they share.
        console: For what they say; default: silence.
        interrupts: What ends a run; default: those that arrive while it is painted.
        memory: Bytes that a run may take, because others run beside it.
        threads: That a run computes with, unless it says how many; 0: all.
    """

    def __init__(
        self,
        machine: Machine | None = None,
        console: Console | None = None,
        interrupts: Interrupts | None = None,
        *,
        memory: int | None = None,
        threads: int = 0,
    ) -> None:
        self._machine = machine or Machine(several=True, memory=memory)
        self._console = console or Console(quiet=True)
        self._interrupts, self._threads = interrupts, threads

    def __call__(self, task: Task, report: Report | None = None, supplies: Supplies | None = None) -> Outcome:
        """Paint a run, or go on with it."""
        supplies = supplies or Supplies()
        interrupts = self._interrupts or Interrupts()
        job = task.job.replace(threads=task.job.threads or self._threads)
        try:
            with interrupts.collected():
                here = job.replace(output_dir=supplies.output_dir or job.output_dir)
                if is_finished(here):
                    return Outcome("finished")
                there = continued(here)
                job = job.replace(resume=there.resume, overwrite=there.overwrite)
                run = _Run(
                    *(task.config, job, self._machine, self._console, interrupts),
                    report=report,
                    supplies=supplies,
                )
                return Outcome("finished" if run.execute() == SUCCESS else "interrupted")
        except KeyboardInterrupt:
            return Outcome("interrupted")
        except FolderInUse:
            return Outcome("in use")
        except Exception as error:
            line = line_of(error)
            if line is None:
                return Outcome("failed", f"{type(error).__name__}: {error}", traceback.format_exc())
            return Outcome("failed", line)


class Machine:
    """What the runs of a process share: TensorFlow, started once, the cluster, pictures, compiled steps.

    Args:
        several: Whether there will be several runs, so that it pays to keep what a further one can use.
        memory: Bytes that a run may take, because others run beside it.
    """

    PICTURES, LARGE = 4, 64 * 2**20

    def __init__(self, *, several: bool = False, memory: int | None = None) -> None:
        self.device, self.cluster, self.memory = "", None, memory
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

    def load_weights(self, job: Job, *, given: Weights | None = None, say: Callable[[str], None]) -> Weights:
        """Return the weights that a run asks for; those of the run before are kept, and said once.

        Args:
            job: What it asks for.
            given: The weights, if they are here already.
            say: Gets a line for each thing a user should know.
        """
        asked = ("", given.sha256) if given else (job.weights, job.weights_dir)
        if self._weights is None or self._weights[0] != asked:
            # Two networks need not be in memory at once.
            self._weights = self._session = None
            weights = given or load_weights(job.weights, folder=Path(job.weights_dir), log=say)
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


class _Reporting(Listener):
    """Says how far a run is, and ends it when asked to.

    Args:
        report: Takes the step, the planned steps, and whether something was saved; returns whether to stop.
        received: Signals of the run.
        saves: Which steps are saved.
    """

    def __init__(self, report: Report, received: list[int], saves: Callable[[int], bool]) -> None:
        self._report, self._received, self._saves = report, received, saves
        self._planned = 0

    def on_step(self, record: StepRecord) -> None:
        """Report a step."""
        self._planned = record.planned
        self._pass_on(record.step, record.last or record.due or self._saves(record.step))

    def on_tick(self, step: int) -> None:
        """Report a step that is not logged."""
        self._pass_on(step, False)

    def _pass_on(self, step: int, saved: bool) -> None:
        if self._report(step, self._planned, saved) and not self._received:
            self._received.append(signal.SIGTERM)


class _Run:
    """One run of the command line, from checked files to written ones.

    Args:
        config: Its settings.
        job: Its files.
        machine: What it shares with others.
        console: For what it says.
        interrupts: What ends it.
        report: Gets its progress.
        supplies: What it uses in place of its files, and where it writes.
    """

    def __init__(
        self,
        config: Config,
        job: Job,
        machine: Machine,
        console: Console,
        interrupts: Interrupts,
        *,
        report: Report | None = None,
        supplies: Supplies | None = None,
    ) -> None:
        self._console, self._interrupts, self._machine = console, interrupts, machine
        self._report_to, self._supplies = report, supplies or Supplies()
        self._worker = find_worker(job.distribute, os.environ)
        console.quiet = console.quiet or self._worker.rank > 0
        self._initial: np.ndarray | None = None
        self._pictures, self._masks = _load_pictures(config, job, machine, self._supplies)
        default = Path("output") / job.title
        # What is recorded, and where things are here.
        self._job = job.replace(output_dir=job.output_dir or str(default))
        self._here = self._job.replace(
            output_dir=self._supplies.output_dir or self._job.output_dir,
            output=self._supplies.output or job.output,
            from_run=self._supplies.files.get(job.from_run, job.from_run),
        )
        self._config = config
        self._earlier: Manifest | None = None
        self._repeated: Manifest | None = None
        self._check()

    @property
    def _cluster(self) -> Cluster:
        return self._machine.cluster

    @property
    def _has_transparency(self) -> bool:
        return any(picture.alpha is not None for picture in self._pictures.values())

    def check_finished(self) -> None:
        """Refuse a finished run in the output folder that was made with other settings or files."""
        earlier = read_manifest(Path(self._here.output_dir))
        config = with_its_tile(earlier, self._config)
        check_same_run(earlier, config, self._hashes, result=self._size)

    def memory(self) -> int:
        """Return the bytes that the run and its process take, estimated for float32."""
        tile = int(self._config.tile) if self._config.tile.isdigit() else None
        return PROCESS_BYTES + estimate_run(self._config, self._size, tile)

    def execute(self) -> int:
        """Run; return the exit code."""
        if self._worker.rank > 0:
            return self._transfer(None)
        job = self._here
        folder = OutputFolder(job.output_dir, overwrite=job.overwrite, resume=job.resume)
        try:
            if job.resume and folder.holds_run():
                self._earlier = read_manifest(folder.path)
                # Several workers must have the same tile, and each decides for itself.
                if self._worker.workers == 1:
                    self._config = with_its_tile(self._earlier, self._config)
                check_same_run(self._earlier, self._config, self._hashes, result=self._size)
                if self._has_transparency:
                    check_transparency(self._earlier)
            return self._transfer(folder)
        finally:
            folder.release()

    def _check(self) -> None:
        """Find every mistake that can be found without TensorFlow."""
        job, config, files = self._here, self._config, self._supplies.files
        if job.resume and job.overwrite:
            raise UserError("--resume goes on with a run and --overwrite replaces it: give one of them")
        content, *styles = self._painted()
        self._size = content.shape[:2]
        self._masks = self._masks.check(len(styles), config)
        sizes = [style_size(style.shape[:2], self._size, config) for style in styles]
        self._mask_notes = check_masks(self._masks, plan_scales(self._size, sizes, config), config)
        reading = {"max_pixels": job.max_pixels, "allow_truncated": job.allow_truncated}
        reading["profile"] = self._pictures["content"].profile
        local = config.replace(init=files.get(config.init, config.init))
        if config.init not in WORDS:
            self._initial = initial_pixels(local, content, styles[0], **reading)
        self._hashes = {role: picture.sha256 for role, picture in self._pictures.items()}
        if self._initial is not None:
            self._hashes["init"] = init_sha256(local)
        if job.from_run:
            self._repeated = read_run(job.from_run)
            check_files(self._repeated, self._hashes, job.from_run)
        if self._supplies.weights is None:
            check_spec(job.weights, Path(job.weights_dir))
        if self._worker.rank == 0:
            check_outputs(job, config, self._pictures["content"], say=self._console.say)

    def _painted(self) -> list[np.ndarray]:
        """Return the photo and the style pictures."""
        return [self._pictures[role].pixels for role in self._pictures if "mask" not in role]

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

        content, *styles = self._painted()
        inputs = Inputs(content, tuple(styles), self._initial, self._masks)
        del content, styles
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
            say(f"{role}: {picture.path}" + (f", {width}×{height}" if height else ""))
            for note in picture.notes:
                say(f"  {note}")
        for note in self._mask_notes:
            say(note)
        check_start()
        height, width = self._size
        if max(self._size) < self._config.sizes.image_size:
            say(
                f"result: {width}×{height}, the size of the photo, which is smaller than "
                f"--image_size={self._config.sizes.image_size}; --enlarge paints larger than the photo"
            )
        if self._config.loss.drowns_in_tv:
            say(
                f"--tv_weight={self._config.loss.tv_weight:g} outweighs losses that are relative to their "
                "targets, and makes the result flat: about 3e-4 smooths noise"
            )
        if not self._machine.device:
            self._machine.device = start_tensorflow(
                verbose=self._job.verbose,
                sparing=height * width >= LARGE_PICTURE,
                threads=self._job.threads,
                join=self._join,
            )
            say(f"device: {self._machine.device}")
            if note := unused_gpu():
                say(f"  {note}")
        device = self._machine.device
        weights = self._machine.load_weights(self._job, given=self._supplies.weights, say=say)
        if self._repeated:
            check_files(self._repeated, {"weights": weights.sha256}, self._job.from_run)
            for line in changes_since(self._repeated, device):
                say(line)
            if self._repeated.form < MASKED_SINCE and self._has_transparency:
                say("hidden colours counted when that run was made, and do not now: the bits differ")
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
        photo = self._pictures["content"]
        found = make_listeners(
            folder, report, self._config, self._job, self._console, photo=photo, after=after
        )
        if self._report_to is not None:
            # After what saves.
            found.append(_Reporting(self._report_to, self._interrupts.received, self._config.saving.saves))
        return found

    def _choose_tile(self) -> None:
        """Choose the tile once, and record it: a resumed or repeated run has the same tiles."""
        from neural_style_tf.distributed.sharding import smallest_tile
        from neural_style_tf.tiling.planner import check_memory, plan_memory

        room = plan_memory(self._config, self._size, share=self._machine.memory)
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


def _load_pictures(
    config: Config, job: Job, machine: Machine, supplies: Supplies
) -> tuple[dict[str, Picture], Masks]:
    """Read all pictures, no larger than they are of use; of masks the first are without pixels."""
    for flag in ("content_mask", "style_mask"):
        check_count(flag, getattr(job, flag), len(job.style))
    reading = {"max_pixels": job.max_pixels, "allow_truncated": job.allow_truncated}
    found: dict[str, Picture] = {}

    def load(role: str, **sizes: Any) -> Picture:
        path = job.pictures[role]
        picture = machine.load_image(supplies.files.get(path, path), **sizes, **reading)
        if picture.alpha is not None and not picture.alpha.any():
            raise UserError(f"{show(path)} is transparent everywhere: there is nothing to see")
        pixels = fill_hidden(picture.pixels, picture.alpha)
        found[role] = dataclasses.replace(picture, pixels=pixels, path=Path(path))
        return found[role]

    def mask(role: str, like: Picture) -> np.ndarray | None:
        path = job.pictures.get(role)
        if path is None:
            return None
        values, picture = load_mask(supplies.files.get(path, path), **reading)
        note = stretched(values.shape, like.pixels.shape[:2])
        notes = (*picture.notes, *([f"{show(path)} {note}"] if note else []))
        found[role] = dataclasses.replace(picture, notes=notes, path=Path(path), alpha=None)
        return values

    sizes = {"longest": config.sizes.image_size, "enlarge": config.sizes.enlarge}
    content = load("content", **sizes, keep_profile=config.profile == "content")
    if config.profile == "content" and content.profile is None:
        note = "it has no colour profile for RGB to be painted in: --profile=content paints in sRGB"
        found["content"] = dataclasses.replace(content, notes=(*content.notes, note))
    result = content_size(content.pixels.shape[:2], config)
    styles = [
        load(role, longest=longest_of_style(result, config, number), profile=content.profile)
        for number, role in enumerate(numbered("style", len(job.style)))
    ]
    content_masks = [mask(role, content) for role in numbered("content_mask", len(job.content_mask))]
    style_masks = [
        with_opacity(mask(role, style), style.alpha)
        for role, style in zip(numbered("style_mask", len(styles)), styles, strict=True)
    ]
    masks = Masks(
        tuple(np.ones((1, 1), np.float32) if one is None else one for one in content_masks),
        tuple(style_masks) if any(one is not None for one in style_masks) else (),
        mask("content_weight_mask", content),
        with_opacity(None, content.alpha),
    )
    return found, masks
