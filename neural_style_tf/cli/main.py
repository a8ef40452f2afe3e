"""The command line: what is asked for, painted here, in several processes or on a cluster."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from neural_style_tf.cli import flags
from neural_style_tf.config.fields import tagged
from neural_style_tf.config.schema import Config, Job, SweepConfig
from neural_style_tf.distributed.cluster_config import find_worker
from neural_style_tf.errors import UserError
from neural_style_tf.images.files import expand_files
from neural_style_tf.jobs.clip import make_run
from neural_style_tf.jobs.error_messages import line_of
from neural_style_tf.jobs.machine import Machine
from neural_style_tf.jobs.painter import Painter
from neural_style_tf.jobs.painting import FAILURE, SUCCESS, USAGE_ERROR
from neural_style_tf.jobs.signals import Interrupts
from neural_style_tf.jobs.task import Task
from neural_style_tf.runs.resume import continued
from neural_style_tf.sweeps.executors import (
    Event,
    find_shard,
    one_after_another,
    share_out,
    side_by_side,
)
from neural_style_tf.sweeps.runner import Executor, Sweep
from neural_style_tf.sweeps.scenes import SCENES, Scenes
from neural_style_tf.tiling.system_memory import available_bytes
from neural_style_tf.utils.console import Console, Download
from neural_style_tf.utils.runtime import cores
from neural_style_tf.video.read import is_clip
from neural_style_tf.weights import Weights
from neural_style_tf.weights.resolve import load_weights


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
            if line.is_sweep or _shares_scenes(line):
                return _sweep(line, console, interrupts)
            line.check_single()
            config, job = line.settings()
            console.quiet = job.quiet
            single = make_run(config, job, Machine(), console, interrupts)
            if line.sweep.dry_run:
                single.check_folder()
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
    asked, job = line.sweep, line.files()
    console.quiet = job.quiet
    if job.resume:
        raise UserError("--resume: a sweep goes on by itself when its command is given again: leave it out")
    if find_worker(job.distribute, os.environ).workers > 1:
        raise UserError("--sweep: the runs of a sweep take one machine: --distribute=none, or mirrored")
    shard = find_shard(asked.shard, os.environ)
    machine = Machine(several=True)
    executor = _executor(asked, job, machine, console, interrupts)
    scenes = None if line.is_sweep else Scenes(*line.settings(), console)
    axes = scenes.axes if scenes else line.axes()
    swept = {axis.name for axis in axes}
    named = job.replace(**{role: "" for role in ("content", "style") if role in swept})
    default = Path("output") / "-".join(filter(None, [named.title, "scenes" if scenes else "sweep"]))
    root = Path(job.output_dir or default)
    zipped = [name.strip() for name in asked.sweep_zip.split(",") if name.strip()]
    if scenes:
        scenes.check(root, asked, shard)

    def settings(changes: Mapping[str, str]) -> tuple[Config, Job]:
        config, job = line.settings(changes)
        # `--output` is of the whole clip.
        return config, job.replace(output="") if scenes else job

    sweep = Sweep(
        axes,
        SCENES if scenes else zipped,
        root=root,
        # Of shared scenes it belongs to what joins them.
        base=line.base(swept | ({"output"} if scenes else set())),
        settings=settings,
        make_run=lambda config, job: make_run(config, job, machine, console, interrupts),
        console=console,
        skip_unreadable=asked.skip_unreadable,
    )
    tasks = sweep.check()
    if asked.dry_run:
        for task in tasks:
            console.say(flags.command(task.config, continued(task.job)))
        return FAILURE if sweep.skipped else SUCCESS
    code = sweep.execute(executor, shard=shard, retry_failed=asked.retry_failed)
    interrupted = interrupts.received and sweep.was_cut_short
    if interrupted:
        console.say("interrupted: the same command goes on with the sweep")
    elif scenes:
        scenes.join(root, [run.folder for run in sweep.runs])
    return interrupts.exit_code if interrupted else code


def _shares_scenes(line: flags.CommandLine) -> bool:
    """Return whether a command line asks for one clip, and to share it out."""
    shares = tagged("shares", SweepConfig)
    shared = any(getattr(line.sweep, name) != getattr(SweepConfig, name) for name in shares)
    if line.is_sweep or not shared:
        return False
    job = line.files()
    return bool(job.frames) or is_clip(job.content)


def _executor(
    asked: SweepConfig, job: Job, machine: Machine, console: Console, interrupts: Interrupts
) -> Executor:
    """Return what paints the runs: in this process, in several, or on a cluster."""
    received = interrupts.received
    if asked.ray and asked.jobs > 1:
        raise UserError("--jobs and --ray both share out the runs: give one of them")
    if asked.shared_output and not asked.ray:
        raise UserError("--shared_output says what the machines of a cluster see: it needs --ray")
    masks = [mask for mask in (*job.content_mask, job.content_weight_mask) if mask]
    if asked.ray and (job.frames or job.flow or any(expand_files(mask) != [mask] for mask in masks)):
        raise UserError(
            "--ray sends files, and --frames, --flow or a mask names a folder: make a video of its frames"
        )
    if asked.ray:
        from neural_style_tf.sweeps.ray_cluster import Cluster, on_ray

        cluster = Cluster(asked.ray, asked.ray_cpus, asked.shared_output)
        cluster.check()

        def network(job: Job) -> Weights:
            return load_weights(
                job.weights,
                folder=job.weights_dir,
                network=job.network,
                trust=job.trust_weights,
                progress=Download(console),
                log=console.say,
            )

        def on_cluster(tasks: Sequence[Task]) -> Iterator[Event]:
            # The tasks are asked to save and end.
            interrupts.graceful = True
            return on_ray(tasks, Painter, cluster, network, received, console.say)

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
