"""A server of the page on the narrow network, in a process of its own."""

import os
import socket
import subprocess
import sys

import pytest
from command_line import environment, write_picture
from paths import ROOT

HELPERS = ROOT / "tests" / "helpers"
SECONDS_TO_END = 120


@pytest.fixture(scope="session")
def narrow_process():
    """Return a function that starts `narrow_page.py` in a folder."""

    def start(folder, *arguments, **options):
        path = os.pathsep.join(map(str, (ROOT, HELPERS)))
        return subprocess.Popen(
            [sys.executable, str(HELPERS / "narrow_page.py"), *map(str, arguments)],
            cwd=folder,
            env=environment(PYTHONPATH=path),
            text=True,
            **options,
        )

    return start


@pytest.fixture(scope="session")
def serve(narrow_process):
    """Return a function that serves the page into the output folder of a folder: its process and address."""
    pytest.importorskip("gradio", reason='needs Gradio: pip install ".[app]"')
    processes = []

    def start(folder):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        processes.append(narrow_process(folder, "serve", folder / "out", port, **pipes))
        return processes[-1], processes[-1].stdout.readline().strip()

    yield start
    for process in processes:
        end(process)


def end(process):
    """Let a server save what it paints, and end; also of one that was killed, close the pipes."""
    if not process.stdout.closed:
        process.communicate(timeout=SECONDS_TO_END)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with two pictures."""
    folder = tmp_path_factory.mktemp("page")
    write_picture(folder / "cat.png", (360, 480))
    write_picture(folder / "sea.png", (50, 60), seed=1)
    return folder


@pytest.fixture(scope="module")
def address(serve, folder):
    """Serve the page into `folder` for the tests of a module; return its address."""
    process, address = serve(folder)
    yield address
    end(process)
