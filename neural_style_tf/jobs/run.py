"""`Run`: check the files of a run, paint, and write the results."""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from neural_style_tf.config.fields import flat, tagged
from neural_style_tf.config.schema import SETTINGS, Config, Job
from neural_style_tf.distributed.cluster_config import find_worker
from neural_style_tf.errors import FAILURE, SUCCESS, UnreadableFile, UserError, reason, show
from neural_style_tf.evaluation.of_run import ResultMeasures
from neural_style_tf.jobs.clip import ClipPainting
from neural_style_tf.jobs.forecast import Forecast
from neural_style_tf.jobs.inputs import read_init
from neural_style_tf.jobs.listeners import Listeners, Reporting
from neural_style_tf.jobs.machine import Machine
from neural_style_tf.jobs.painting import PicturePainting
from neural_style_tf.jobs.signals import Interrupts
from neural_style_tf.jobs.task import Report, Supplies
from neural_style_tf.runs.manifest import (
    Manifest,
    ManifestWriter,
    facts_in_common,
    flag_lines,
)
from neural_style_tf.runs.output_dir import OutputFolder, check_folder, holds_run
from neural_style_tf.runs.region_files import flags_of, read_regions, write_regions
from neural_style_tf.runs.resume import (
    changes_since,
    check_files,
    check_same_run,
    differences,
    earlier_manifest,
    repeated_manifest,
    step_of,
    trim_metrics,
    with_its_choices,
)
from neural_style_tf.tiling.memory_model import LARGE_PICTURE, choose_tile, estimate_run
from neural_style_tf.tiling.system_memory import check_start
from neural_style_tf.transfer.plan import Plan, plan_run, with_regions
from neural_style_tf.transfer.records import Listener
from neural_style_tf.transfer.regions import MOST
from neural_style_tf.utils.files import write_text
from neural_style_tf.utils.runtime import check_installation
from neural_style_tf.video.read import is_clip
from neural_style_tf.weights import Weights
from neural_style_tf.weights.resolve import check_spec

Work = PicturePainting | ClipPainting
"""The parts of a run that differ between a picture and a clip."""
PROCESS_BYTES = 600 * 2**20
"""Memory of a process that has imported TensorFlow and read the weights."""


class Run:
    """A run. Creating it reads and checks its files; `execute` paints and writes the results.

    Attributes:
        config: The settings, as `run.json` records them.
        job: The files, as `run.json` records them.
        here: `job` with the paths of the files on this machine.
        work: What differs between a picture (`PicturePainting`) and a clip (`ClipPainting`).

    Raises:
        UserError: The settings or files have a mistake that can be found without TensorFlow.
    """

    def __init__(
        self,
        config: Config,
        job: Job,
        machine: Machine,
        interrupts: Interrupts,
        *,
        report: Report | None = None,
        supplies: Supplies | None = None,
    ) -> None:
        supplies, self._begun = supplies or Supplies(), time.monotonic()
        self.work = work = _choose_work(config, job, supplies.files)
        self._report_to, self._weights = report, supplies.weights
        self.machine, self.console, self._interrupts = machine, machine.console, interrupts
        self.forecast: Forecast | None = None
        self.worker = find_worker(job.distribute, os.environ)
        self.console.quiet = self.console.quiet or self.worker.rank > 0
        self.config, self.job = config, job
        try:
            self.files, inputs = work.read(config, job, machine, supplies.files)
        except UserError as error:
            raise UnreadableFile(str(error)) from error
        self.files, inputs = read_init(config, job, self.files, inputs, supplies.files)
        self.job = job.replace(output_dir=job.output_dir or str(Path("output") / job.title))
        self.here = self.job.replace(
            output_dir=supplies.output_dir or self.job.output_dir,
            output=supplies.output or job.output,
            from_run=supplies.files.get(job.from_run, job.from_run),
        )
        self.stopped, self.regions = False, None
        self._found = False  # whether this process found the regions
        self.measure: ResultMeasures | None = None
        self.earlier: Manifest | None = None
        self._repeated: Manifest | None = None
        self._follow(plan_run(inputs, config))
        self._check()

    def _follow(self, plan: Plan) -> None:
        """Set the plan, and copy what is needed later: `take_plan` removes the plan when painting begins."""
        self._plan, self.scales, self.notes = plan, plan.scales, plan.notes
        styles, regions = plan.scales[-1].styles, plan.masks.regions
        if plan.unmatched is not None:
            # The regions are not known yet. These are the largest possible numbers of masks.
            styles, regions = MOST * styles, MOST * len(styles)
        self._beside_result = {"styles": styles, "regions": regions}

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the result in pixels."""
        return self.scales[-1].content

    @property
    def hashes(self) -> Mapping[str, str]:
        """Role of each picture → SHA-256 of its file; `init` for a file that `--init` names."""
        return self.files.hashes

    def check_unchanged(self, hashes: Mapping[str, str]) -> None:
        """Raise UserError if a picture does not have the hash that it had when a sweep checked it."""
        for role, value in hashes.items():
            if self.hashes.get(role) != value:
                path = self.config.init if role == "init" else self.job.pictures[role]
                raise UserError(
                    f"{show(path)} was changed after the sweep began: put the former file back, or paint the "
                    "new one in another --output_dir"
                )

    def check_finished(self) -> None:
        """Raise UserError if the finished run in the output folder has other settings or files."""
        folder = self.here.output_dir
        earlier = earlier_manifest(Path(folder))
        away = "move that folder away to paint it anew"
        if differs := differences(earlier, self.config, self.hashes):
            raise UserError(f"the run in {show(folder)} is another one: {'; '.join(differs)}; {away}")

    def check_folder(self) -> None:
        """Raise UserError if `execute` would refuse the output folder. Nothing is written.

        The network, the checkpoints and the folder's lock are not checked here, but by `execute`.
        """
        job, folder = self.here, Path(self.here.output_dir)
        check_folder(folder, overwrite=job.overwrite, resume=job.resume)
        if job.resume and holds_run(folder):
            self._check_resumed(earlier_manifest(folder), self.hashes)

    def memory(self, available: int | None = None) -> int:
        """Return an estimate of the memory of the run and its process in float32, in bytes.

        With `--tile=auto` the tile is chosen for `available` bytes of memory. None stands for no tiles, 0 for
        the tile that needs the least memory.
        """
        estimate = functools.partial(estimate_run, self.config, self.size, **self._beside_result)
        return PROCESS_BYTES + estimate(choose_tile(self.config.tile, estimate, available))

    def execute(self) -> int:
        """Paint, write the results, and return the exit code."""
        if self.worker.rank > 0:
            return self._start_and_paint(None)
        job = self.here
        folder = OutputFolder(job.output_dir, overwrite=job.overwrite, resume=job.resume)
        try:
            if job.resume and holds_run(folder.path):
                self.earlier = earlier_manifest(folder.path)
                self._check_resumed(self.earlier, self.hashes)
            return self._start_and_paint(folder)
        finally:
            folder.release()

    def _check(self) -> None:
        """Raise UserError for each mistake in the settings and files that can be found without TensorFlow."""
        check_installation()
        job = self.here
        if job.resume and job.overwrite:
            raise UserError("--resume goes on with a run and --overwrite replaces it: give one of them")
        if job.from_run:
            self._repeated = repeated_manifest(job.from_run)
            check_files(self._repeated, self.hashes, job.from_run)
        if self._weights is None:
            check_spec(job.weights, Path(job.weights_dir), network=job.network, trust=job.trust_weights)
        if self.worker.rank == 0:
            self.work.check_outputs(self)

    def _start_and_paint(self, folder: OutputFolder | None) -> int:
        """Start TensorFlow, paint, and return the exit code; only the chief has an output folder."""
        device, weights = self._start()
        self._match(folder)
        if self._interrupts.received:
            # An import may swallow KeyboardInterrupt.
            raise KeyboardInterrupt
        try:
            return self._paint(folder, device, weights)
        except Exception as error:
            self.machine.cluster.explain(error)
            raise

    def _match(self, folder: OutputFolder | None) -> None:
        """With `--match=regions`, find the regions and plan again with them.

        A resumed run reads the regions that its earlier part wrote.
        """
        inputs, say = self._plan.unmatched, self.console.say
        if inputs is None:
            return
        known = None if self.earlier is None or folder is None else read_regions(folder.path)
        regions = self.machine.session().find_regions(inputs, self.config, known)
        self.regions, self._found, said = regions, known is None, self.notes
        self._follow(plan_run(*with_regions(inputs, self.config, regions, moving=self.work.moves)))
        for line in self.notes:
            if line not in said:
                say(line)
        if regions.count == 1:
            say("--match=regions: photo and style have no regions that match: all is one region")

    def _paint(self, folder: OutputFolder | None, device: str, weights: Weights) -> int:
        """Paint, pass each record to the listeners, and return the exit code."""
        cluster, received = self.machine.cluster, self._interrupts.received
        cluster.check_same(facts_in_common(self.config, self.hashes, weights))
        checkpoint = self._find_checkpoint(folder, weights) if folder else None
        self._choose()
        listeners = Listeners(
            functools.partial(self._listeners, folder, device, weights, checkpoint),
            folder and folder.path / self.work.result,
        )

        def tick(step: int) -> bool:
            """Return whether to stop: all workers stop when one of them has received a signal."""
            listeners.on_tick(step)
            signals = next(filter(None, cluster.all_gather(received)), [])
            received.extend(signals[len(received) :])
            self.stopped = bool(received)
            return self.stopped

        record = None
        try:
            for record in self.work.records(self, folder, checkpoint, tick):
                self._interrupts.graceful = True
                self.forecast.begin(time.monotonic() - self._begun)
                listeners.on_step(record)
            if record is None and checkpoint is not None and not self.stopped:
                # A clip without further frames to paint: the listeners still write its manifest.
                listeners.begin()
            # A signal during the last step, or while its files were written, did not end the run early.
            finished = not self.stopped or (record is not None and record.finished)
            status = "finished" if finished else "interrupted"
        except BaseException as error:
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else f"failed: {reason(error)}"
            raise
        finally:
            faults = listeners.close(status)
        self.forecast.keep()
        # Barrier: keep workers alive until the chief has written everything.
        cluster.all_gather(status)
        listeners.raise_first(faults)
        if folder is not None:
            self.work.say_end(self, folder, status, record)
        if not finished:
            return self._interrupts.exit_code
        return FAILURE if self.work.is_flawed(self) else SUCCESS

    def _listeners(
        self, folder: OutputFolder | None, device: str, weights: Weights, checkpoint: str | None
    ) -> Iterator[Listener]:
        """Remove what an earlier run wrote after `checkpoint`, and yield the listeners of this run."""
        if folder is None:
            return
        from neural_style_tf.runs.callbacks import Metrics
        from neural_style_tf.runs.clip_files import remove_after
        from neural_style_tf.runs.tensorboard import Curves

        after = step_of(checkpoint)
        if checkpoint is None:
            folder.clear()
        else:
            trim_metrics(folder.path / "metrics.jsonl", after)
            remove_after(folder.path, after)
        yield ManifestWriter(
            folder.path / "run.json",
            self.config,
            self.job,
            inputs=self.files.pictures,
            init=self.hashes.get("init"),
            weights=weights,
            device=device,
            earlier=self.earlier,
            measure=self.measure,
        )
        write_text(folder.path / "flags.txt", flag_lines(self.config, self.job))
        if self.regions is not None:
            # Masks that were read are not written again: the user may have corrected them.
            if self._found or checkpoint is None:
                write_regions(folder.path, self.regions, moving=self.work.moves)
            if self.regions.count > 1:
                flags = flags_of(folder.path, self.regions, self.config, self.job, moving=self.work.moves)
                self.console.say(f"regions: {self.regions.count}; to paint with corrected masks: {flags}")
        yield Metrics(folder.path / "metrics.jsonl", after=after)
        yield Curves(folder.path, self.config, self.job, after=after, measure=self.measure)
        yield from self.work.listeners(self, folder)
        if self._report_to is not None:
            yield Reporting(self._report_to, self._interrupts.received, self.config.saving.saves)

    def take_plan(self) -> Plan:
        """Return the plan, with the precision, convolution and tile that this run has chosen.

        The run drops its own reference, so that the memory of the pictures can be freed. Call this only once.
        """
        config = self._plan.config.replace(
            precision=self.config.network.precision,
            convolution=self.config.network.convolution,
            tile=self.config.tile,
        )
        plan, self._plan = dataclasses.replace(self._plan, config=config), None
        return plan

    def _start(self) -> tuple[str, Weights]:
        """Start TensorFlow, load the weights, and print both; return the device and the weights."""
        from neural_style_tf.utils.runtime import start_tensorflow, unused_gpu

        say, starts = self.console.say, not self.machine.device
        self.forecast = Forecast(self.config, self.job, starts=starts)
        if not self.job.resume and (line := self.work.forecast(self)):
            say(line)
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
        if starts:
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
        weights = self.machine.load_weights(self.job, given=self._weights)
        if self._repeated:
            check_files(self._repeated, {"weights": weights.sha256}, self.job.from_run)
            for line in changes_since(self._repeated, device):
                say(line)
        return device, weights

    def _find_checkpoint(self, folder: OutputFolder, weights: Weights) -> str | None:
        """Return the path of the checkpoint that `--resume` continues from; None to begin anew."""
        if self.earlier is None:
            self.console.say(f"writing to {folder.path}{os.sep}")
            return None
        self._check_resumed(self.earlier, self.hashes | {"weights": weights.sha256})
        return self.work.find_checkpoint(self, folder)

    def _check_resumed(self, earlier: Manifest, hashes: dict[str, str]) -> None:
        """Raise UserError if the `earlier` part of the run had other settings or files."""
        check_same_run(earlier, self.config, hashes)
        self.work.check_resumed(self, earlier)

    def _choose(self) -> None:
        """Replace the values `auto` by what they stand for here.

        `run.json` records the choice, so that a resumed or repeated run computes the same.
        """
        from neural_style_tf.models.precision import has_bfloat16
        from neural_style_tf.tiling.planner import check_memory, plan_memory
        from neural_style_tf.transfer.session import settle

        before, say = self.config, self.console.say
        if self.earlier is not None:
            self.config = with_its_choices(self.earlier, self.config)
            if (tile := self.earlier.config.get("tile", "auto")) != self.config.tile:
                say(
                    f"--tile was {tile}, now {self.config.tile}: the run goes on with the same "
                    "gradient, which other tiles round differently"
                )
        self.config = settle(self.config, self.size, self.machine.cluster)
        network = self.config.network
        if before.network != network:
            say(f"auto: --precision={network.precision} --convolution={network.convolution}")
        if network.precision == "bfloat16" and not has_bfloat16():
            say("this machine has no hardware for bfloat16, and takes longer than in float32")
        room = plan_memory(self.config, self.size, **self._beside_result, share=self.machine.memory)
        room = room._replace(tile=self.machine.cluster.least(room.tile))
        say(str(room))
        check_memory(self.config, self.size, room.tile, **self._beside_result)
        self.config = self.config.replace(tile=str(room.tile or "none"))

    def _join(self) -> None:
        """Set the cluster of the machine: the workers that `--distribute` names, or this process alone."""
        from neural_style_tf.distributed.replicas import join

        job = self.job
        self.machine.cluster = join(
            job.distribute, self.worker, timeout=job.worker_timeout, say=self.console.error
        )


def _choose_work(config: Config, job: Job, files: Mapping[str, str]) -> Work:
    """Return a `ClipPainting` for a clip, else a `PicturePainting`; `files` as in `Supplies`."""
    if job.frames or is_clip(files.get(job.content, job.content)):
        return ClipPainting()
    values = flat(config) | flat(job)
    for name in tagged("clip", Config, Job):
        if values[name] != SETTINGS[name].default:
            raise UserError(f"--{name} is about clips, and {show(job.content)} is a picture: leave it out")
    return PicturePainting()
