"""One run of the command line, from checked files to written ones; callbacks are connected here."""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neural_style_tf.config.fields import flat, tagged
from neural_style_tf.config.schema import SETTINGS, Config, Job
from neural_style_tf.distributed.cluster_config import find_worker
from neural_style_tf.errors import UnreadableFile, UserError, reason, show
from neural_style_tf.jobs.clip import ClipPainting
from neural_style_tf.jobs.inputs import read_init
from neural_style_tf.jobs.machine import Machine
from neural_style_tf.jobs.painting import Painting, Work
from neural_style_tf.jobs.signals import Interrupts
from neural_style_tf.jobs.task import Report, Supplies
from neural_style_tf.runs.manifest import (
    Manifest,
    ManifestWriter,
    facts_in_common,
    flag_lines,
    settings_table,
)
from neural_style_tf.runs.output_dir import OutputFolder, check_folder, holds_run
from neural_style_tf.runs.replay import changes_since, check_files, read_run
from neural_style_tf.runs.resume import (
    check_same_run,
    differences,
    read_manifest,
    step_of,
    with_its_choices,
)
from neural_style_tf.tiling.memory_model import LARGE_PICTURE, choose_tile, estimate_run
from neural_style_tf.tiling.system_memory import check_start
from neural_style_tf.transfer.plan import Plan
from neural_style_tf.transfer.records import Listener, Record
from neural_style_tf.transfer.scales import Scale
from neural_style_tf.utils.atomic import write_text
from neural_style_tf.utils.console import Console
from neural_style_tf.utils.runtime import check_installation
from neural_style_tf.video.read import is_clip
from neural_style_tf.weights import Weights
from neural_style_tf.weights.resolve import check_spec

if TYPE_CHECKING:
    from neural_style_tf.distributed.replicas import Cluster

SUCCESS, FAILURE, USAGE_ERROR = 0, 1, 2
PROCESS_BYTES = 600 * 2**20
"""Memory of a process that has imported TensorFlow and read the weights."""


class Reporting(Listener):
    """Reports the progress of a run to a sweep or the page, and stops it when their answer says so.

    Args:
        report: As of `task.Report`.
        received: Signals of the run; a stop is noted here as a signal.
        saves: Whether a step is saved.
    """

    def __init__(self, report: Report, received: list[int], saves: Callable[[int], bool]) -> None:
        self._report, self._received, self._saves = report, received, saves
        self._planned, self._seconds_left = 0, None

    def on_step(self, record: Record) -> None:
        """Report a step."""
        self._planned, self._seconds_left = record.planned, record.seconds_left
        self._pass_on(record.step, record.last or record.due or self._saves(record.step))

    def on_tick(self, step: int) -> None:
        """Report a step that is not logged."""
        self._pass_on(step, False)

    def _pass_on(self, step: int, saved: bool) -> None:
        if self._report(step, self._planned, saved, self._seconds_left) and not self._received:
            self._received.append(signal.SIGTERM)


class Run:
    """A run: its files are read and checked at once, and written by `execute`.

    Args:
        config: Its settings.
        job: Its files.
        machine: What it shares with other runs.
        console: Where it prints.
        interrupts: Signals that end it.
        work: What it paints: a picture (`painting.Painting`) or a clip (`clip.ClipPainting`).
        report: Takes its progress.
        supplies: Copies of its files, and other places to write to.

    Raises:
        UserError: Every mistake that can be found without TensorFlow.
    """

    def __init__(
        self,
        config: Config,
        job: Job,
        machine: Machine,
        console: Console,
        interrupts: Interrupts,
        *,
        work: Work,
        report: Report | None = None,
        supplies: Supplies | None = None,
    ) -> None:
        self._work = work
        self.console, self._interrupts, self.machine = console, interrupts, machine
        self._report_to, self._supplies = report, supplies or Supplies()
        self._worker = find_worker(job.distribute, os.environ)
        console.quiet = console.quiet or self._worker.rank > 0
        self.config, self.job = config, job
        files = self._supplies.files
        try:
            self.files, inputs = work.read(config, job, machine, files)
        except UserError as error:
            raise UnreadableFile(str(error)) from error
        self.files, inputs = read_init(config, job, self.files, inputs, files)
        default = Path("output") / job.title
        # What is recorded, and where things are here.
        self.job = job.replace(output_dir=job.output_dir or str(default))
        self.here = self.job.replace(
            output_dir=self._supplies.output_dir or self.job.output_dir,
            output=self._supplies.output or job.output,
            from_run=self._supplies.files.get(job.from_run, job.from_run),
        )
        self.stopped = False
        self.earlier: Manifest | None = None
        self._repeated: Manifest | None = None
        self._plan = work.plan(inputs, config)
        self._scales, self._regions = self._plan.scales, self._plan.masks.regions
        self.notes = self._plan.notes
        self._check()

    @property
    def _cluster(self) -> Cluster:
        return self.machine.cluster

    @property
    def scales(self) -> tuple[Scale, ...]:
        """The sizes that a picture, or a frame of a clip, goes through."""
        return self._scales

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the result."""
        return self._scales[-1].content

    @property
    def hashes(self) -> Mapping[str, str]:
        """Role of each picture, and `init` for a file that --init names → SHA-256."""
        return self.files.hashes

    def check_unchanged(self, hashes: Mapping[str, str]) -> None:
        """Refuse pictures that have changed since a sweep checked them.

        Args:
            hashes: Role of each picture → SHA-256 at the check; empty if nothing was checked.

        Raises:
            UserError: Naming the first.
        """
        for role, value in hashes.items():
            if self.hashes.get(role) != value:
                path = self.config.init if role == "init" else self.job.pictures[role]
                raise UserError(
                    f"{show(path)} was changed after the sweep began: put the former file back, or paint the "
                    "new one in another --output_dir"
                )

    def check_finished(self) -> None:
        """Refuse an output folder whose finished run has other settings or files."""
        folder = self.here.output_dir
        earlier = read_manifest(Path(folder))
        away = "move that folder away to paint it anew"
        if found := differences(earlier, self.config, self.hashes, result=self.size):
            raise UserError(f"the run in {show(folder)} is another one: {'; '.join(found)}; {away}")

    def check_folder(self) -> None:
        """Refuse what `execute` would refuse in the output folder, without writing.

        Only `execute` checks the network, the checkpoints and the folder's lock.
        """
        job, folder = self.here, Path(self.here.output_dir)
        check_folder(folder, overwrite=job.overwrite, resume=job.resume)
        if job.resume and holds_run(folder):
            self._check_resumed(read_manifest(folder), self.hashes)

    def memory(self) -> int:
        """Return the bytes that the run and its process take, estimated for float32."""
        return memory_needed(self.config, self._scales[-1], self._regions)

    @property
    def _beside_result(self) -> dict[str, Any]:
        """Further arguments of `memory_model.estimate_run`."""
        return {"styles": self._scales[-1].styles, "regions": self._regions}

    def execute(self) -> int:
        """Run; return the exit code."""
        if self._worker.rank > 0:
            return self._transfer(None)
        job = self.here
        folder = OutputFolder(job.output_dir, overwrite=job.overwrite, resume=job.resume)
        try:
            if job.resume and holds_run(folder.path):
                self.earlier = read_manifest(folder.path)
                self._check_resumed(self.earlier, self.hashes)
            return self._transfer(folder)
        finally:
            folder.release()

    def _check(self) -> None:
        """Find every mistake that can be found without TensorFlow."""
        check_installation()
        job = self.here
        if job.resume and job.overwrite:
            raise UserError("--resume goes on with a run and --overwrite replaces it: give one of them")
        if job.from_run:
            self._repeated = read_run(job.from_run)
            check_files(self._repeated, self.hashes, job.from_run)
        if self._supplies.weights is None:
            check_spec(job.weights, Path(job.weights_dir), network=job.network, trust=job.trust_weights)
        if self._worker.rank == 0:
            self._work.check_outputs(self)

    def _transfer(self, folder: OutputFolder | None) -> int:
        """Run, as the chief in a folder, as another worker without; return the exit code."""
        device, weights = self._start()
        if self._interrupts.received:
            # An import may swallow KeyboardInterrupt.
            raise KeyboardInterrupt
        try:
            return self._steps(folder, device, weights)
        except Exception as error:
            self._cluster.explain(error)
            raise

    def _steps(self, folder: OutputFolder | None, device: str, weights: Weights) -> int:
        self._cluster.check_same(facts_in_common(self.config, self.hashes, weights))
        checkpoint = self._find_checkpoint(folder, weights) if folder else None
        self._choose()
        listeners: list[Listener] = []
        report = record = None
        received = self._interrupts.received

        def tick(step: int) -> bool:
            for listener in listeners:
                listener.on_tick(step)
            received.extend(next(filter(None, self._cluster.all_gather(received)), [])[len(received) :])
            self.stopped = bool(received)
            return self.stopped

        def begin() -> None:
            # An earlier run in the folder is kept until the first step is done.
            nonlocal report
            self._interrupts.graceful = True
            if folder is not None and report is None:
                report = self._report(folder, weights, device, checkpoint)
                listeners.extend(self._listeners(folder, report, step_of(checkpoint)))

        records = self._work.records(self, folder, checkpoint, tick)
        try:
            for record in records:
                begin()
                self._tell(listeners, record, folder)
            if report is None and checkpoint is not None and not self.stopped:
                # Of a clip, nothing was left to paint.
                report = self._report(folder, weights, device, checkpoint)
            # A signal during the last step, or while it was written, did not cut the run short.
            finished = not self.stopped or (record is not None and record.finished)
            status = "finished" if finished else "interrupted"
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else f"failed: {reason(error)}"
            raise
        finally:
            faults: list[Exception] = []
            ends = [listener.on_end for listener in listeners]
            for end in [*ends, functools.partial(report.finish, status)] if report else ends:
                try:
                    end()
                except Exception as error:
                    faults.append(error)
        # Barrier: keep workers alive until the chief has written everything.
        self._cluster.all_gather(status)
        self._raise_first(faults, folder)
        if folder is not None:
            self._work.say_end(self, folder, status, record)
        if not finished:
            return self._interrupts.exit_code
        return FAILURE if self._work.is_flawed(self) else SUCCESS

    def _tell(self, listeners: list[Listener], record: Record, folder: OutputFolder | None) -> None:
        """Pass a step to the listeners; after a fault only to those that save the painting, and at once."""
        faults: list[Exception] = []
        for listener in listeners:
            if faults and not listener.keeps_painting:
                continue
            try:
                listener.on_step(dataclasses.replace(record, due=True) if faults else record)
            except Exception as error:
                faults.append(error)
        self._raise_first(faults, folder)

    def _raise_first(self, faults: list[Exception], folder: OutputFolder | None) -> None:
        """Raise the first of several errors, with a note that says where the painting is."""
        if not faults:
            return
        painting = folder and folder.path / self._work.result
        notes = [note for fault in faults for note in getattr(fault, "__notes__", ())]
        if not notes and painting and painting.exists():
            notes = [f"what is painted is in {painting}"]
        faults[0].__notes__ = notes
        raise faults[0]

    def take_plan(self) -> Plan:
        """Return the plan with the choices of this run; it is not kept, so that its pictures can go."""
        config = self._plan.config.replace(
            precision=self.config.network.precision,
            convolution=self.config.network.convolution,
            tile=self.config.tile,
        )
        plan, self._plan = dataclasses.replace(self._plan, config=config), None
        return plan

    def _start(self) -> tuple[str, Weights]:
        """Import TensorFlow and load the weights; print what is used."""
        from neural_style_tf.utils.runtime import lacks_avx, start_tensorflow, unused_gpu

        say = self.console.say
        for line in (*self.files.lines, *self.notes):
            say(line)
        check_start()
        height, width = self.size
        if max(self.size) < self.config.sizes.image_size:
            say(
                f"result: {width}×{height}, the size of the photo, which is smaller than "
                f"--image_size={self.config.sizes.image_size}; --enlarge paints larger than the photo"
            )
        if self.config.loss.drowns_in_tv:
            say(
                f"--tv_weight={self.config.loss.tv_weight:g} outweighs losses that are relative to their "
                "targets, and makes the result flat: about 3e-4 smooths noise"
            )
        if not self.machine.device:
            if note := lacks_avx():
                self.console.error(note)
            self.machine.device = start_tensorflow(
                verbose=self.job.verbose,
                sparing=height * width >= LARGE_PICTURE,
                threads=self.job.threads,
                join=self._join,
            )
            say(f"device: {self.machine.device}")
            if note := unused_gpu():
                say(f"  {note}")
        device = self.machine.device
        weights = self.machine.load_weights(self.job, given=self._supplies.weights, console=self.console)
        if self._repeated:
            check_files(self._repeated, {"weights": weights.sha256}, self.job.from_run)
            for line in changes_since(self._repeated, device):
                say(line)
        return device, weights

    def _find_checkpoint(self, folder: OutputFolder, weights: Weights) -> str | None:
        """Return the checkpoint to continue from, if that is asked for and there is one."""
        if self.earlier is None:
            self.console.say(f"writing to {folder.path}{os.sep}")
            return None
        self._check_resumed(self.earlier, self.hashes | {"weights": weights.sha256})
        return self._work.find_checkpoint(self, folder)

    def _check_resumed(self, earlier: Manifest, hashes: dict[str, str]) -> None:
        """Refuse to continue a run of other settings or files; hashes as of `resume.differences`."""
        check_same_run(earlier, self.config, hashes, result=self.size)
        self._work.check_resumed(self, earlier)

    def _report(
        self, folder: OutputFolder, weights: Weights, device: str, checkpoint: str | None
    ) -> ManifestWriter:
        if checkpoint is None:
            folder.clear()
        else:
            self._work.clear_after(folder, step_of(checkpoint))
        report = ManifestWriter(
            folder.path / "run.json",
            self.config,
            self.job,
            inputs=self.files.pictures,
            init=self.hashes.get("init"),
            weights=weights,
            device=device,
            earlier=self.earlier,
        )
        write_text(folder.path / "flags.txt", flag_lines(self.config, self.job))
        return report

    def _listeners(self, folder: OutputFolder, report: ManifestWriter, after: int) -> list[Listener]:
        """Return all callbacks, those that report to others last: what they report is saved by then."""
        from neural_style_tf.runs.callbacks import Metrics
        from neural_style_tf.runs.tensorboard import Curves

        settings = settings_table(self.config, self.job)
        listeners = [
            report,
            Metrics(folder.path / "metrics.jsonl", after=after),
            Curves(folder.path, self.config, settings, after=after),
            *self._work.listeners(self, folder),
        ]
        if self._report_to is not None:
            listeners.append(Reporting(self._report_to, self._interrupts.received, self.config.saving.saves))
        return listeners

    def _choose(self) -> None:
        """Decide what `auto` means, and record it, so that a resumed or repeated run computes the same."""
        from neural_style_tf.models.precision import has_bfloat16
        from neural_style_tf.tiling.planner import check_memory, plan_memory
        from neural_style_tf.transfer.session import settle

        asked, say = self.config.network, self.console.say
        if self.earlier is not None:
            self.config = with_its_choices(self.earlier, self.config)
            if (before := self.earlier.config.get("tile", "auto")) != self.config.tile:
                say(
                    f"--tile was {before}, now {self.config.tile}: the run goes on with the same "
                    "gradient, which other tiles round differently"
                )
        self.config = settle(self.config, self.size, self._cluster)
        network = self.config.network
        if asked != network:
            say(f"auto: --precision={network.precision} --convolution={network.convolution}")
        if network.precision == "bfloat16" and not has_bfloat16():
            say("this machine has no hardware for bfloat16, and takes longer than in float32")
        room = plan_memory(self.config, self.size, **self._beside_result, share=self.machine.memory)
        room = room._replace(tile=self._cluster.least(room.tile))
        self.console.say(str(room))
        check_memory(self.config, self.size, room.tile, **self._beside_result)
        self.config = self.config.replace(tile=str(room.tile or "none"))

    def _join(self) -> None:
        """Join the cluster of workers, if there is one."""
        from neural_style_tf.distributed.replicas import join

        job = self.job
        self.machine.cluster = join(
            job.distribute, self._worker, timeout=job.worker_timeout, say=self.console.error
        )


def make_run(
    config: Config,
    job: Job,
    machine: Machine,
    console: Console,
    interrupts: Interrupts,
    *,
    report: Report | None = None,
    supplies: Supplies | None = None,
) -> Run:
    """Return the run of a picture or of a clip; arguments and errors as of `Run`."""
    supplies = supplies or Supplies()
    work: Work = ClipPainting()
    if not (job.frames or is_clip(supplies.files.get(job.content, job.content))):
        work = Painting()
        _refuse_clip_flags(config, job)
    return Run(config, job, machine, console, interrupts, work=work, report=report, supplies=supplies)


def memory_needed(config: Config, scale: Scale, regions: int, available: int | None = None) -> int:
    """Estimate the bytes that a run and its process take, in float32.

    Args:
        config: Its settings.
        scale: Its last scale.
        regions: Number of masks of the result.
        available: Bytes by which `--tile=auto` chooses; None: one piece.
    """
    estimate = functools.partial(estimate_run, config, scale.content, styles=scale.styles, regions=regions)
    return PROCESS_BYTES + estimate(choose_tile(config.tile, estimate, available))


def _refuse_clip_flags(config: Config, job: Job) -> None:
    """Refuse flags about clips for a picture."""
    values = flat(config) | flat(job)
    for name in tagged("clip", Config, Job):
        if values[name] != SETTINGS[name].default:
            raise UserError(f"--{name} is about clips, and {show(job.content)} is a picture: leave it out")
