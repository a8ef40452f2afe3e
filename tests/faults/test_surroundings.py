"""Disks, folders, clocks, terminals and memory that fail."""

import json
import shutil
import subprocess
import sys

import pytest
from command_line import environment
from harness import ROOT, RUN, WORKLOADS, differences, half_written, traces

pytestmark = pytest.mark.faults
ADAM = (*WORKLOADS["adam"], "--output_dir=o")
LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_{}, ({}, resource.RLIM_INFINITY))"


@pytest.fixture(autouse=True)
def fresh(place):
    yield
    for name in ("o", "m"):
        shutil.rmtree(place / name, ignore_errors=True)


@pytest.fixture
def disk(place):
    """Return a function that mounts a small disk at m/, or makes it larger."""
    (place / "m").mkdir()

    def mount(size, *options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join((f"size={size}k", *options)), "tmpfs", "m"]
        if subprocess.run(command, cwd=place, capture_output=True).returncode:
            pytest.skip("only root can mount")

    yield mount
    subprocess.run(["umount", "-l", "m"], cwd=place, check=True)


@pytest.mark.parametrize("size", [4, 24, 120, 360, 600])
def test_a_full_disk(warm, place, disk, error_line, undisturbed, size):
    """Nothing that a user would open is half-written; with more room the run ends in the same bits."""
    disk(size)
    flags = [*WORKLOADS["adam"], "--output_dir=m/o"]
    code = warm.run(*flags)
    assert code == 1 and "No space left" in error_line() and "--resume" in error_line()
    assert half_written(place / "m") == []
    disk(8000, "remount")
    assert warm.run(*flags, "--resume") == 0, warm.said()
    assert differences(undisturbed("adam"), traces(place / "m" / "o")) == []


@pytest.mark.parametrize("size", [0, 1000, 6000, 30000, 100000])
def test_a_limit_on_the_size_of_files(warm, place, error_line, undisturbed, size):
    code = warm.run(*ADAM, before=LIMIT.format("FSIZE", size))
    said_ = (place / "said.txt").read_text()
    # Its own words go to a file, too, which is limited as well.
    assert code in (1, 2) and "Traceback" not in said_
    assert half_written(place / "o") == []
    assert warm.run(*ADAM, "--resume") == 0, warm.said()
    assert differences(undisturbed("adam"), traces(place / "o")) == []


ROLE = {
    "removed": "import shutil; at(4, lambda record: shutil.rmtree('o'))",
    "not writable any more": "import os; at(4, lambda record: os.seteuid(65534))",
    "checkpoints removed": "import shutil; at(4, lambda record: shutil.rmtree('o/checkpoints'))",
}


@pytest.mark.parametrize("fault", ROLE)
def test_the_folder_changes_during_the_run(warm, place, error_line, undisturbed, fault):
    code = warm.run(*ADAM, before=ROLE[fault])
    if fault == "checkpoints removed":
        # The next save makes it anew.
        assert code == 0, warm.said()
        return
    assert code == 1 and "o" in error_line()
    assert half_written(place / "o") == []
    assert warm.run(*ADAM, "--resume") == 0, warm.said()
    assert differences(undisturbed("adam"), traces(place / "o")) == []


def test_a_folder_that_cannot_be_written(warm, place, disk, error_line):
    disk(100)
    (place / "m" / "o").mkdir()
    disk(100, "remount", "ro")
    for folder in ("m/o", "m/new"):
        assert warm.run(*WORKLOADS["adam"], f"--output_dir={folder}") == 2
        assert f"--output_dir: cannot write in '{folder}'" in error_line()


BACK = """
import itertools, time
seconds = itertools.count(2e9, -3600)
time.time = lambda: next(seconds)
at(5, lambda record: setattr(time, "time", lambda: 0.0))
"""
SURROUNDINGS = {
    "the clock runs backwards": BACK,
    "no HOME": "import os; [os.environ.pop(k, None) for k in ('HOME', 'USER', 'LOGNAME', 'PATH', 'LANG')]",
    "no terminal, no input": "import os; os.setsid(); os.close(0)",
    "one stack of a megabyte": "import resource; resource.setrlimit(resource.RLIMIT_STACK, (2**20, 2**20))",
    "few open files": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))",
    "a niggardly umask": "import os; os.umask(0o077)",
}


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
def test_a_run_does_not_mind(warm, place, undisturbed, surroundings):
    assert warm.run(*ADAM, before=SURROUNDINGS[surroundings]) == 0, warm.said()
    assert differences(undisturbed("adam"), traces(place / "o")) == []


def test_a_pipe_that_closes(place, undisturbed):
    command = f"{sys.executable} {ROOT / 'run.py'} {' '.join([*RUN, *ADAM])} | head -1"
    process = {"cwd": place, "env": environment(), "capture_output": True, "text": True}
    done = subprocess.run(["bash", "-c", command], **process)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert json.loads((place / "o" / "run.json").read_text())["status"] == "finished"
    assert differences(undisturbed("adam"), traces(place / "o")) == []


@pytest.mark.parametrize("megabytes", [0, 100, 300, 600])
def test_too_little_memory(warm, place, error_line, megabytes):
    """A limit on the address space above what the process has when it begins."""
    pages = "int(open('/proc/self/statm').read().split()[0]) * 4096"
    code = warm.run(
        *("--image_size=0", "--output_dir=o", "--iterations=2", "--preset=original"),
        before=LIMIT.format("AS", f"{pages} + {megabytes} * 2**20"),
    )
    if code:
        assert code == 1, (code, warm.said())
        assert "memory" in error_line() and "--image_size" in error_line()
