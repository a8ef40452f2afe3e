"""Paint the runs of a sweep or of the page, one after another, in one process."""

from __future__ import annotations

import traceback

from neural_style_tf.errors import FAILURE, SUCCESS, reason
from neural_style_tf.jobs.error_messages import GO_ON, RETRY, line_of
from neural_style_tf.jobs.machine import Machine
from neural_style_tf.jobs.run import Run
from neural_style_tf.jobs.signals import Interrupts
from neural_style_tf.jobs.task import Outcome, Report, Supplies, Task
from neural_style_tf.runs.output_dir import FolderInUse
from neural_style_tf.runs.resume import continued, is_finished


class Painter:
    """Paints runs one after another in this process. They share networks and compiled steps.

    Each run has its own `Interrupts`, unless one for all is passed. `threads` are for runs whose settings do
    not say how many. `go_on` says what to do after a failed run, for its message.
    """

    def __init__(
        self,
        machine: Machine | None = None,
        interrupts: Interrupts | None = None,
        *,
        memory: int | None = None,
        threads: int = 0,
        go_on: str = RETRY,
    ) -> None:
        self._go_on = go_on
        self._machine = machine or Machine(several=True, memory=memory)
        self._interrupts, self._threads = interrupts, threads

    def __call__(self, task: Task, report: Report | None = None, supplies: Supplies | None = None) -> Outcome:
        """Paint the run `task`, or continue it if its folder holds a part. Errors are returned, not raised.

        `report` receives the progress. `supplies` replace files that this machine does not have.
        """
        supplies = supplies or Supplies()
        interrupts = self._interrupts or Interrupts()
        job = task.job.replace(threads=task.job.threads or self._threads)
        try:
            with interrupts.collected():
                here = job.replace(output_dir=supplies.output_dir or job.output_dir)
                # `resume` with a finished run adds iterations to it.
                if is_finished(here) and not here.resume:
                    return Outcome("finished")
                there = continued(here)
                job = job.replace(resume=there.resume, overwrite=there.overwrite)
                run = Run(task.config, job, self._machine, interrupts, report=report, supplies=supplies)
                run.check_unchanged(task.hashes)
                code = run.execute()
                flaw = "frames of its clip are damaged" if code == FAILURE else ""
                return Outcome("finished" if code in (SUCCESS, FAILURE) else "interrupted", flaw)
        except KeyboardInterrupt:
            return Outcome("interrupted")
        except FolderInUse:
            return Outcome("in use")
        except Exception as error:
            line = line_of(error)
            if line is None:
                return Outcome("failed", f"{type(error).__name__}: {reason(error)}", traceback.format_exc())
            return Outcome("failed", line.replace(GO_ON, self._go_on))
