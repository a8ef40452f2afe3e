"""A place to break runs in: pictures, real processes of the command line, and a look at what they left."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import command_line
import numpy as np
from command_line import SMALL, USUAL, with_usual
from paths import ROOT
from PIL import Image

RUN = (*USUAL, *SMALL)
WORKLOADS = {
    "adam": ("--scales=2", "--scale_iterations=7", "--iterations=6", "--log_every=1", "--save_every=3"),
    "lbfgs": (
        *("--scales=2", "--scale_iterations=5", "--iterations=5", "--log_every=2", "--save_every=2"),
        *("--optimizer=lbfgs", "--init=content", "--tv_weight=0.1"),
    ),
    "short": ("--iterations=2", "--log_every=1", "--save_every=1"),
    "clip": (
        *("--content=clip.webp", "--scales=2", "--scale_iterations=4", "--iterations=12", "--tv_weight=0.1"),
        *("--optimizer=lbfgs", "--init=content", "--temporal_weight=1", "--long_term=1,2"),
    ),
    "adam, tiled": ("--tile=16", "--iterations=8", "--log_every=1", "--save_every=2"),
}
WRITES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")


def write_pictures(folder):
    """Write c.png, s.png and clip.webp."""
    command_line.write_pictures(folder)
    frames = [Image.open(Path(folder) / "c.png").crop((k, 0, 48 + k, 40)) for k in range(6)]
    options = {"save_all": True, "append_images": frames[1:], "duration": 80, "lossless": True}
    frames[0].save(Path(folder) / "clip.webp", **options)


class Warm:
    """A process that has imported TensorFlow, used nothing of it, and forks a run on demand.

    It has one thread, and its children come to the same bits as processes of their own (tested): this
    saves the seconds that importing takes, and leaves everything that a run itself does.
    """

    def __init__(self, folder):
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            cwd=folder,
            # With more than one core NumPy's library would start a thread for each.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        if self._process.stdout.readline() != "1\n":
            raise RuntimeError("the warm process has more than one thread")

    def start(self, *flags, dies_at=0, before="", folder=None):
        """Start a run.

        Args:
            *flags: Beside `RUN`.
            folder: Where it runs; default: that of the process.
            dies_at: Let it kill itself just before its file operation of this number.
            before: Python code that it runs first; `at(step, action)` in it acts at a logged step.
        """
        self._place = Path(folder or self._folder)
        task = {
            "flags": with_usual(flags, RUN),
            "dies_at": dies_at,
            "before": before,
            "folder": str(self._place),
        }
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def wait(self):
        """Wait for the run; return its exit code, or minus the signal that ended it."""
        return int(self._process.stdout.readline())

    def run(self, *flags, **options):
        """Start a run and wait for it."""
        self.start(*flags, **options)
        return self.wait()

    def said(self):
        """Return what the last run wrote to standard output and standard error."""
        return (self._place / "said.txt").read_text()

    def close(self):
        """End the process."""
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()


def serve():
    """Be the warm process."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"] = "1"
    sys.path.insert(0, str(ROOT))
    from neural_style_tf.utils.runtime import prefer_onednn

    prefer_onednn()
    import neural_style_tf.runs.callbacks
    import neural_style_tf.runs.tensorboard
    import neural_style_tf.transfer.session  # noqa: F401
    from neural_style_tf.cli.main import run

    print(len(os.listdir("/proc/self/task")), flush=True)  # noqa: PTH208, T201
    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if child == 0:
            os.chdir(task["folder"])
            said = os.open("said.txt", os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            os.dup2(said, 1), os.dup2(said, 2)
            operations = []
            sys.addaudithook(_counter(operations, task["dies_at"]))
            exec(task["before"], {"at": _at})
            code = run(["run.py", *task["flags"]])
            sys.stdout.flush(), sys.stderr.flush()
            # Not where the test took away the right to write.
            with contextlib.suppress(OSError):
                Path("operations.txt").write_text(f"{len(operations)}")
            os._exit(code)
        print(child, flush=True)  # noqa: T201
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)  # noqa: T201


def _at(step, action):
    """Call `action(record)` once, when a step has been logged."""
    from neural_style_tf.runs.callbacks import Metrics

    log, actions = Metrics.on_step, [action]

    def on_step(self, record):
        log(self, record)
        if record.step == step and actions:
            actions.pop()(record)

    Metrics.on_step = on_step


def _counter(operations, dies_at):
    """Return an audit hook that counts the operations that change a file, and kills at one of them."""

    def hook(event, arguments):
        if event not in WRITES or (event == "open" and not _writes(arguments)):
            return
        operations.append(event)
        if len(operations) == dies_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def _writes(arguments):
    path, _, flags = arguments
    return isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR) and str(path) != os.devnull


def half_written(folder):
    """Return the files that a user would open and that are not whole."""
    bad = []
    for path in sorted(Path(folder).rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.is_file() and not hidden and not _whole(path):
            bad.append(str(path))
    return bad


def _whole(path):
    with contextlib.suppress(OSError, ValueError, SyntaxError):
        if path.suffix in (".png", ".jpg"):
            with Image.open(path) as picture:
                picture.load()
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".jsonl":
            # A log may end in the middle of a line.
            for line in path.read_text().splitlines(keepends=True):
                if line.endswith("\n"):
                    json.loads(line)
        elif path.name == "flags.txt":
            return path.read_text().endswith("\n")
        return True
    return False


def rows(folder):
    """Return the objects of metrics.jsonl without their times."""
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def traces(folder):
    """Return everything that must be the same of two runs: pictures, losses, curves, the last state."""
    import tensorflow as tf

    folder = Path(folder)
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.png")}
    found |= {path.name: path.read_bytes() for path in folder.glob("*.mp4")}
    found["metrics.jsonl"] = rows(folder)
    curves = []
    for path in sorted(folder.glob("events.*")):
        for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(raw)
            curves += [
                (event.step, value.tag, value.tensor.SerializeToString())
                for value in event.summary.value
                if value.tag not in ("config", "seconds")
            ]
    found["curves"] = sorted(curves)
    names = sorted(path.name for path in (folder / "checkpoints").iterdir())
    found["checkpoints"] = names
    newest = max((int(name[5:-6]) for name in names if name.endswith(".index")), default=None)
    if newest is not None:
        reader = tf.train.load_checkpoint(str(folder / "checkpoints" / f"ckpt-{newest}"))
        for name in reader.get_variable_to_shape_map():
            if "seconds" not in name and "OBJECT_GRAPH" not in name:
                found[name] = np.asarray(reader.get_tensor(name)).tobytes()
    found["left over"] = [path.name for path in folder.rglob(".*")]
    return found


def differences(one, other):
    """Return the names of what differs between two `traces`."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def wait_until(condition, seconds=60):
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


if __name__ == "__main__":
    serve()
