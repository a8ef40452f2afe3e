"""One run of the command line, from checked files to written ones; callbacks are connected here."""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neural_style_tf.config.schema import Config, Job, numbered
from neural_style_tf.distributed.cluster_config import find_worker
from neural_style_tf.errors import UnreadableFile, UserError, reason, show
from neural_style_tf.images import Picture, fill_hidden
from neural_style_tf.images.masks import load_mask, stretched, with_opacity
from neural_style_tf.jobs.machine import Machine
from neural_style_tf.jobs.signals import Interrupts
from neural_style_tf.jobs.task import Report, Supplies
from neural_style_tf.runs.manifest import Manifest, ManifestWriter, facts_in_common, flag_lines
from neural_style_tf.runs.output_dir import OutputFolder, check_folder, holds_run
from neural_style_tf.runs.outputs import check_outputs, clear_the_way, find_checkpoint, make_listeners
from neural_style_tf.runs.replay import changes_since, check_files, read_run
from neural_style_tf.runs.resume import (
    EXACT_SINCE,
    MASKED_SINCE,
    check_same_run,
    check_transparency,
    differences,
    read_manifest,
    step_of,
    with_its_choices,
)
from neural_style_tf.tiling.memory_model import LARGE_PICTURE, choose_tile, estimate_run
from neural_style_tf.tiling.system_memory import check_start
from neural_style_tf.transfer.initial import WORDS, init_sha256, initial_pixels
from neural_style_tf.transfer.masks import Masks, check_count, check_masks
from neural_style_tf.transfer.picture_sizes import content_size, longest_of_style, style_size
from neural_style_tf.transfer.records import Listener, StepRecord
from neural_style_tf.transfer.scales import plan_scales
from neural_style_tf.utils.atomic import write_text
from neural_style_tf.utils.console import Console, duration
from neural_style_tf.utils.runtime import check_installation
from neural_style_tf.weights import Weights
from neural_style_tf.weights.resolve import check_spec

if TYPE_CHECKING:
    from neural_style_tf.distributed.replicas import Cluster
    from neural_style_tf.transfer.loop import Tick

SUCCESS, FAILURE, USAGE_ERROR = 0, 1, 2
PROCESS_BYTES = 600 * 2**20
"""Of a process with TensorFlow imported and the weights read."""


class Reporting(Listener):
    """Says how far a run is, and ends it when asked to.

    Args:
        report: As of `task.Report`.
        received: Signals of the run.
        saves: Which steps are saved.
    """

    def __init__(self, report: Report, received: list[int], saves: Callable[[int], bool]) -> None:
        self._report, self._received, self._saves = report, received, saves
        self._planned, self._seconds_left = 0, None

    def on_step(self, record: StepRecord) -> None:
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
    """One run of the command line, from checked files to written ones.

    Args:
        config: Its settings.
        job: Its files.
        machine: What it shares with others.
        console: For what it says.
        interrupts: What ends it.
        report: Gets its progress.
        supplies: What it uses in place of its files, and where it writes.

    Attributes:
        scales: Of a picture, the sizes it goes through; of a clip, those of a frame.
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
        self._config, self._job = config, job
        for flag in ("content_mask", "style_mask"):
            check_count(flag, getattr(job, flag), len(job.style))
        try:
            self._pictures, self._masks = _load_pictures(
                config, job, machine, self._supplies, self._content(), self._read_mask
            )
        except UserError as error:
            raise UnreadableFile(str(error)) from error
        default = Path("output") / job.title
        # What is recorded, and where things are here.
        self._job = job.replace(output_dir=job.output_dir or str(default))
        self._here = self._job.replace(
            output_dir=self._supplies.output_dir or self._job.output_dir,
            output=self._supplies.output or job.output,
            from_run=self._supplies.files.get(job.from_run, job.from_run),
        )
        self._stopped = False
        self._earlier: Manifest | None = None
        self._repeated: Manifest | None = None
        self._check()

    @property
    def _cluster(self) -> Cluster:
        return self._machine.cluster

    @property
    def _has_transparency(self) -> bool:
        return any(picture.alpha is not None for picture in self._pictures.values())

    @property
    def hashes(self) -> Mapping[str, str]:
        """Role of each picture, and `init` for a file that --init names → SHA-256."""
        return self._hashes

    def check_unchanged(self, hashes: Mapping[str, str]) -> None:
        """Refuse pictures that are others than those that a sweep has checked.

        Args:
            hashes: Role of each → SHA-256; empty if nothing was checked.

        Raises:
            UserError: Naming the first.
        """
        for role, value in hashes.items():
            if self._hashes.get(role) != value:
                path = self._config.init if role == "init" else self._job.pictures[role]
                raise UserError(
                    f"{show(path)} was changed after the sweep began: put the former file back, or paint the "
                    "new one in another --output_dir"
                )

    def check_finished(self) -> None:
        """Refuse a finished run in the output folder that was made with other settings or files."""
        folder = self._here.output_dir
        earlier = read_manifest(Path(folder))
        away = "move that folder away to paint it anew"
        earlier.check_network(f"the run in {show(folder)}", f"so it cannot be repeated; {away}")
        if found := differences(earlier, self._config, self._hashes, result=self._size):
            raise UserError(f"the run in {show(folder)} is another one: {'; '.join(found)}; {away}")

    def check_folder(self) -> None:
        """Refuse a run, settings and pictures in the output folder that `execute` would; writes nothing.

        The network, the checkpoints and the folder's lock are looked at by `execute` alone.
        """
        job, folder = self._here, Path(self._here.output_dir)
        check_folder(folder, overwrite=job.overwrite, resume=job.resume)
        if job.resume and holds_run(folder):
            self._check_resumed(read_manifest(folder), self._hashes)

    def memory(self) -> int:
        """Return the bytes that the run and its process take, estimated for float32."""
        estimate = functools.partial(estimate_run, self._config, self._size, **self._beside_result)
        return PROCESS_BYTES + estimate(choose_tile(self._config.tile, estimate, available=None))

    @property
    def _beside_result(self) -> dict[str, Any]:
        """What an estimate of memory counts beside the result; for `memory_model.estimate_run`."""
        return {"styles": self.scales[-1].styles, "regions": self._masks.regions}

    def execute(self) -> int:
        """Run; return the exit code."""
        if self._worker.rank > 0:
            return self._transfer(None)
        job = self._here
        folder = OutputFolder(job.output_dir, overwrite=job.overwrite, resume=job.resume)
        try:
            if job.resume and holds_run(folder.path):
                self._earlier = read_manifest(folder.path)
                self._check_resumed(self._earlier, self._hashes)
            return self._transfer(folder)
        finally:
            folder.release()

    def _check(self) -> None:
        """Find every mistake that can be found without TensorFlow."""
        check_installation()
        job, config, files = self._here, self._config, self._supplies.files
        if job.resume and job.overwrite:
            raise UserError("--resume goes on with a run and --overwrite replaces it: give one of them")
        content, *styles = self._painted()
        self._size = content.shape[:2]
        self._masks = self._masks.check(len(styles), config)
        sizes = [style_size(style.shape[:2], self._size, config) for style in styles]
        self.scales = plan_scales(self._size, sizes, config)
        self._mask_notes = check_masks(self._masks, self.scales, config)
        reading = job.reading | {"profile": self._pictures["content"].profile}
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
            self._check_outputs()

    def _content(self) -> Picture | None:
        """Return the content, if it is no picture file."""
        return None

    def _read_mask(self, role: str, path: str, **reading: Any) -> tuple[np.ndarray, Picture]:
        """Read the mask of a role; see `images.masks.load_mask`."""
        return load_mask(path, **reading)

    def _check_outputs(self) -> None:
        """Find what could not be written, or would be lost."""
        photo = self._pictures["content"]
        check_outputs(self._here, self._config, photo, size=self._size, say=self._console.say)

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
        self._choose()
        listeners: list[Listener] = []
        report = record = None
        received = self._interrupts.received

        def tick(step: int) -> bool:
            for listener in listeners:
                listener.on_tick(step)
            received.extend(next(filter(None, self._cluster.all_gather(received)), [])[len(received) :])
            self._stopped = bool(received)
            return self._stopped

        def begin() -> None:
            # Not before a first step exists: until then an earlier run is left alone.
            nonlocal report
            self._interrupts.graceful = True
            if folder is not None and report is None:
                report = self._report(folder, weights, device, checkpoint)
                listeners.extend(self._listeners(folder, report, step_of(checkpoint)))

        steps = self._records(folder, checkpoint, tick, begin)
        try:
            for record in steps:
                begin()
                self._tell(listeners, record, folder)
            if report is None and checkpoint is not None and not self._stopped:
                # Of a clip, nothing was left to paint.
                report = self._report(folder, weights, device, checkpoint)
            # A signal that came while the last picture was painted or written has ended nothing.
            finished = not self._stopped or (record is not None and record.finished)
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
            self._say_end(folder, status, record)
        return SUCCESS if finished else self._interrupts.exit_code

    def _tell(self, listeners: list[Listener], record: StepRecord, folder: OutputFolder | None) -> None:
        """Tell listeners of a step; after a fault only those that keep the painting, which is due then."""
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
        """Raise the first of several errors, with a note on where the painting is."""
        if not faults:
            return
        painting = folder and self._painting(folder)
        notes = [note for fault in faults for note in getattr(fault, "__notes__", ())]
        if not notes and painting and painting.exists():
            notes = [f"what is painted is in {painting}"]
        faults[0].__notes__ = notes
        raise faults[0]

    def _painting(self, folder: OutputFolder) -> Path:
        """Return where a run keeps what it has painted."""
        return folder.path / "result.png"

    def _records(
        self,
        folder: OutputFolder | None,
        checkpoint: str | None,
        tick: Tick,
        begin: Callable[[], None],
    ) -> Iterator[StepRecord]:
        """Return the steps of the run.

        Args:
            folder: Where it writes; None for a worker that does not.
            checkpoint: From `_checkpoint`.
            tick: See `transfer.loop.Tick`.
            begin: To be called before anything is written in the folder, if that is before the first record.
        """
        from neural_style_tf.transfer.inputs import Inputs

        content, *styles = self._painted()
        inputs = Inputs(content, tuple(styles), self._initial, self._masks)
        # The run forgets the pictures when they are of no more use, and so must we.
        self.forget_pictures()
        self._initial = None
        return self._machine.session().run(inputs, self._config, tick=tick, resume=checkpoint)

    def forget_pictures(self) -> None:
        """Keep only what is known of them."""
        self._pictures = {role: picture.without_pixels() for role, picture in self._pictures.items()}

    def _say_end(self, folder: OutputFolder, status: str, record: StepRecord) -> None:
        """Say how the run ended."""
        result = folder.path / "result.png"
        self._console.say(f"{status} after {duration(record.seconds)}: {result} (step {record.best_step})")

    def _start(self) -> tuple[str, Weights]:
        """Import TensorFlow and load the weights; print what is used."""
        from neural_style_tf.utils.runtime import lacks_avx, start_tensorflow, unused_gpu

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
            if note := lacks_avx():
                self._console.error(note)
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
        weights = self._machine.load_weights(self._job, given=self._supplies.weights, console=self._console)
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
        self._check_resumed(self._earlier, self._hashes | {"weights": weights.sha256})
        return find_checkpoint(folder, planned=self.scales[-1].end, say=self._console.say)

    def _check_resumed(self, earlier: Manifest, hashes: dict[str, str]) -> None:
        """Refuse to go on with a run of other settings or files; hashes as of `resume.differences`."""
        check_same_run(earlier, self._config, hashes, result=self._size)
        if self._has_transparency:
            check_transparency(earlier)

    def _clear_the_way(self, folder: OutputFolder, checkpoint: str | None) -> None:
        """Remove an earlier run, or what a run that goes on had written after its checkpoint."""
        clear_the_way(folder, checkpoint)

    def _report(
        self, folder: OutputFolder, weights: Weights, device: str, checkpoint: str | None
    ) -> ManifestWriter:
        self._clear_the_way(folder, checkpoint)
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
        found = make_listeners(
            folder,
            report,
            self._config,
            self._job,
            self._console,
            photo=self._pictures["content"],
            output=self._here.output,
            after=after,
        )
        return [*found, *self._reporting()]

    def _reporting(self) -> list[Listener]:
        """Return what reports to others how far the run is; to be called after what saves."""
        if self._report_to is None:
            return []
        return [Reporting(self._report_to, self._interrupts.received, self._config.saving.saves)]

    def _choose(self) -> None:
        """Choose what is `auto` once, and record it: a resumed or repeated run computes alike."""
        from neural_style_tf.models.precision import has_bfloat16, has_tf32
        from neural_style_tf.tiling.planner import check_memory, plan_memory
        from neural_style_tf.transfer.session import settle

        asked, say = self._config.network, self._console.say
        if self._earlier is not None:
            self._config = with_its_choices(self._earlier, self._config)
            if (before := self._earlier.config.get("tile", "auto")) != self._config.tile:
                say(
                    f"--tile was {before}, now {self._config.tile}: the run goes on with the same "
                    "gradient, which other tiles round differently"
                )
        self._config = settle(self._config, self._size, self._cluster)
        network = self._config.network
        if asked != network:
            say(f"auto: --precision={network.precision} --convolution={network.convolution}")
        if network.precision == "bfloat16" and not has_bfloat16():
            say("this machine has no hardware for bfloat16, and takes longer than in float32")
        before = self._earlier or self._repeated
        on_gpu = before is not None and str(before.circumstances.get("device", "")).startswith("GPU")
        if network.precision == "float32" and on_gpu and before.form < EXACT_SINCE and has_tf32():
            say(
                "that run's float32 was TF32, and now is float32: for TF32 give --precision=tf32 to a new run"
            )
        room = plan_memory(self._config, self._size, **self._beside_result, share=self._machine.memory)
        room = room._replace(tile=self._cluster.least(room.tile))
        self._console.say(str(room))
        check_memory(self._config, self._size, room.tile, **self._beside_result)
        self._config = self._config.replace(tile=str(room.tile or "none"))

    def _join(self) -> None:
        """Become one of the cluster's workers, if there is one."""
        from neural_style_tf.distributed.replicas import join

        job = self._job
        self._machine.cluster = join(
            job.distribute, self._worker, timeout=job.worker_timeout, say=self._console.error
        )


def _load_pictures(
    config: Config,
    job: Job,
    machine: Machine,
    supplies: Supplies,
    content: Picture | None,
    read_mask: Callable[..., tuple[np.ndarray, Picture]],
) -> tuple[dict[str, Picture], Masks]:
    """Read all pictures, but the content if it is given, no larger than they are of use.

    Returns:
        The pictures, of which masks are without pixels, and the masks.
    """
    reading = job.reading
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
        values, picture = read_mask(role, supplies.files.get(path, path), **reading)
        note = stretched(values.shape, like.pixels.shape[:2])
        notes = (*picture.notes, *([f"{show(path)} {note}"] if note else []))
        found[role] = dataclasses.replace(picture, notes=notes, path=Path(path), alpha=None)
        return values

    sizes = {"longest": config.sizes.image_size, "enlarge": config.sizes.enlarge}
    if content is None:
        content = load("content", **sizes, keep_profile=config.profile == "content")
    found["content"] = content
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
