"""The command line: read the flags, paint one run or a sweep, return the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from neural_style_tf.cli import flags
from neural_style_tf.config.fields import tagged
from neural_style_tf.config.schema import Config, Job, SweepConfig
from neural_style_tf.distributed.cluster_config import find_worker
from neural_style_tf.errors import FAILURE, SUCCESS, UserError
from neural_style_tf.jobs.error_messages import exit_code_of
from neural_style_tf.jobs.machine import Machine
from neural_style_tf.jobs.run import Run
from neural_style_tf.jobs.signals import Interrupts
from neural_style_tf.runs.resume import continued
from neural_style_tf.sweeps.executors import choose_executor
from neural_style_tf.sweeps.runner import Sweep
from neural_style_tf.sweeps.scenes import SCENES, Scenes
from neural_style_tf.sweeps.shards import find_shard
from neural_style_tf.utils.console import Console
from neural_style_tf.video.read import is_clip


def run(argv: Sequence[str] | None = None) -> int:
    """Run a command line, by default that of this process, and return the exit code.

    0 for success; 1 if a run failed; 2 for a mistake of the user; 130 or 143 if the run was interrupted or
    terminated, with everything saved.
    """
    argv = list(sys.argv if argv is None else argv)
    console = Console()
    if any(argument in ("--help", "-h", "-help", "--helpfull", "--helpshort") for argument in argv[1:]):
        console.say(flags.help_text())
        return SUCCESS
    interrupts = Interrupts()

    def paint() -> int:
        with interrupts.collected():
            line = flags.read(argv)
            several = line.is_sweep or _shares_scenes(line)
            return (_paint_sweep if several else _paint_single)(line, console, interrupts)

    try:
        return exit_code_of(paint, console.error)
    except KeyboardInterrupt:
        console.error("interrupted")
        return interrupts.exit_code


def _paint_single(line: flags.CommandLine, console: Console, interrupts: Interrupts) -> int:
    line.check_single()
    config, job = line.settings()
    console.quiet = job.quiet
    single = Run(config, job, Machine(console), interrupts)
    if not line.sweep.dry_run:
        return single.execute()
    single.check_folder()
    console.say(flags.command(config, job))
    return SUCCESS


def _shares_scenes(line: flags.CommandLine) -> bool:
    """Return whether `line` names a single clip, and flags that distribute its scenes."""
    shares = tagged("shares", SweepConfig)
    shared = any(getattr(line.sweep, name) != getattr(SweepConfig, name) for name in shares)
    if line.is_sweep or not shared:
        return False
    job = line.files()
    return bool(job.frames) or is_clip(job.content)


def _paint_sweep(line: flags.CommandLine, console: Console, interrupts: Interrupts) -> int:
    """Paint several runs, or the scenes of one clip; return the exit code."""
    flags_of_sweep, job = line.sweep, line.files()
    console.quiet = job.quiet
    if job.resume:
        raise UserError("--resume: a sweep goes on by itself when its command is given again: leave it out")
    if find_worker(job.distribute, os.environ).workers > 1:
        raise UserError("--sweep: the runs of a sweep take one machine: --distribute=none, or mirrored")
    shard = find_shard(flags_of_sweep.shard, os.environ)
    machine = Machine(console, several=True)
    executor = choose_executor(flags_of_sweep, job, machine, interrupts)
    scenes = None if line.is_sweep else Scenes(*line.settings(), console)
    axes = scenes.axes if scenes else line.axes()
    swept = {axis.name for axis in axes}
    root = Path(job.output_dir or _default_folder(job, swept, "scenes" if scenes else "sweep"))
    if scenes:
        scenes.check(root, flags_of_sweep, shard)

    def settings(changes: Mapping[str, str]) -> tuple[Config, Job]:
        config, job = line.settings(changes)
        # `--output` is the file of the whole clip, not of one scene.
        return config, job.replace(output="") if scenes else job

    sweep = Sweep(
        axes,
        SCENES if scenes else [name.strip() for name in flags_of_sweep.sweep_zip.split(",") if name.strip()],
        root=root,
        base=line.base(swept | {"output"} if scenes else swept),
        settings=settings,
        machine=machine,
        skip_unreadable=flags_of_sweep.skip_unreadable,
    )
    tasks = sweep.check()
    if flags_of_sweep.dry_run:
        for task in tasks:
            console.say(flags.command(task.config, continued(task.job)))
        return FAILURE if sweep.skipped else SUCCESS
    code = sweep.execute(executor, shard=shard, retry_failed=flags_of_sweep.retry_failed)
    if interrupts.received and sweep.was_cut_short:
        console.say("interrupted: the same command goes on with the sweep")
        return interrupts.exit_code
    if scenes:
        scenes.join(root, list(sweep.runs))
    return code


def _default_folder(job: Job, swept: set[str], kind: str) -> str:
    """Return the default folder of a sweep: its name has the pictures that are not swept, and `kind`."""
    title = job.replace(**{role: "" for role in ("content", "style") if role in swept}).title
    return str(Path("output") / "-".join(filter(None, [title, kind])))
