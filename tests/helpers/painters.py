"""A painter without TensorFlow: it counts steps, saves each, and goes on; for processes and machines."""

import functools
import json
import os
import signal
import time
from pathlib import Path

from harness import rows

from neural_style_tf.jobs.signals import Interrupts
from neural_style_tf.jobs.task import Outcome, Supplies
from neural_style_tf.runs.manifest import FORM
from neural_style_tf.runs.resume import continued, is_finished, trim_metrics
from neural_style_tf.utils.files import write_bytes

STEPS = 8


def outcomes(events):
    """Return how the runs of an executor ended, by their names."""
    return {event.name: event.outcome for event in events if event.outcome}


def status(name):
    """Return what the run.json of a run says."""
    return json.loads((Path("o") / name / "run.json").read_text())["status"]


def steps_of(name):
    """Return the steps that a run has made."""
    return [row["step"] for row in rows(f"o/{name}")]


def fake_painter(seconds=0.0, **unused):
    """Return what makes a fake painter in another process; each step takes so long."""
    return functools.partial(FakePainter, seconds)


class FakePainter:
    """Paints a text; the name of a run says what happens.

    `bad` fails, `dies` kills its process at the third step, but only in
    its first attempt, `slow` takes long to report its first step.
    """

    def __init__(self, seconds=0.0, **unused):
        self._seconds = seconds

    def __call__(self, task, report=None, supplies=None):
        supplies = supplies or Supplies()
        job = task.job.replace(output_dir=supplies.output_dir or task.job.output_dir)
        if is_finished(job):
            return Outcome("finished")
        if task.name == "bad":
            return Outcome("failed", "no more paint")
        folder = Path(job.output_dir)
        interrupts = Interrupts()
        interrupts.graceful = True
        first = 0
        if continued(job).resume:
            first = max(int(path.suffix[1:]) for path in (folder / "checkpoints").glob("ckpt-*"))
            trim_metrics(folder / "metrics.jsonl", first)
        with interrupts.collected():
            for step in range(first + 1, STEPS + 1):
                time.sleep(self._seconds)
                if task.name == "dies" and step == 3 and not first:
                    os.kill(os.getpid(), signal.SIGKILL)
                folder.mkdir(parents=True, exist_ok=True)
                # Before the checkpoint, as a real run does: a step that is resumed from has its row.
                with (folder / "metrics.jsonl").open("a") as file:
                    file.write(json.dumps({"step": step, "pid": os.getpid()}) + "\n")
                self._save(folder, "running", step)
                if task.name == "slow":
                    time.sleep(60)
                if report is not None and report(step, STEPS, True):
                    interrupts.received.append(signal.SIGTERM)
                if interrupts.received:
                    self._save(folder, "interrupted", step)
                    return Outcome("interrupted")
        read = [Path(supplies.files.get(name, name)).read_bytes() for name in job.pictures.values()]
        write_bytes(folder / "result.png", b"+".join(read) + os.environ.get("PAINTER_MARK", "").encode())
        if supplies.output or job.output:
            write_bytes(supplies.output or job.output, b"a copy")
        self._save(folder, "finished", STEPS)
        return Outcome("finished")

    @staticmethod
    def _save(folder, status, step):
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        for old in (folder / "checkpoints").iterdir():
            old.unlink()
        write_bytes(folder / "checkpoints" / f"ckpt-{step}.{step}", b"state")
        facts = {"config": {}, "inputs": {}, "weights": {}, "status": status, "steps": step}
        write_bytes(folder / "run.json", json.dumps(facts | {"manifest": FORM}).encode())
