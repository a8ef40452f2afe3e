"""A server of the page in a process of its own."""

import os
import socket
import subprocess
import sys

import pytest
from command_line import environment, write_picture
from paths import ROOT

HELPERS = ROOT / "tests" / "helpers"


@pytest.fixture(scope="session")
def narrow_process():
    """Return a function that starts `narrow_page.py` in a folder."""

    def start(folder, *arguments, **options):
        return subprocess.Popen(
            [sys.executable, str(HELPERS / "narrow_page.py"), *map(str, arguments)],
            cwd=folder,
            env=environment(PYTHONPATH=os.pathsep.join(map(str, (ROOT, HELPERS)))),
            text=True,
            **options,
        )

    return start


@pytest.fixture(scope="module")
def serve(narrow_process):
    """Return a function that serves the page for the output folder of a folder: its process and address.

    Options are those of `Page.launch`, as `name=text`.
    """
    pytest.importorskip("gradio", reason='needs Gradio: pip install ".[app]"')
    processes = []

    def start(folder, painter, *options):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        processes.append(narrow_process(folder, "serve", folder / "out", port, painter, *options, **pipes))
        return processes[-1], processes[-1].stdout.readline().strip()

    yield start
    for process in processes:
        # It saves what it paints, and ends.
        process.communicate(timeout=120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with two pictures."""
    folder = tmp_path_factory.mktemp("page")
    write_picture(folder / "cat.png", (360, 480))
    write_picture(folder / "sea.png", (50, 60), seed=1)
    return folder


@pytest.fixture(scope="module")
def address(serve, folder, request):
    """Serve the page into `folder` with the `PAINTER` of a module; return its address."""
    return serve(folder, request.module.PAINTER)[1]
