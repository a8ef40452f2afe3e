"""A console whose reader is gone, is quiet, or shows a line that is being rewritten."""

import io

import pytest

from neural_style_tf.utils import console as module
from neural_style_tf.utils.console import Console, Download


class Gone(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def test_a_reader_who_is_gone_is_written_to_once():
    console = Console(stream=Gone())
    console.say("a line")
    assert console.quiet and not console.interactive


def test_what_a_terminal_cannot_show_is_escaped():
    written = io.BytesIO()
    console = Console(stream=io.TextIOWrapper(written, encoding="latin-1"))
    console.say("Σ of 3×4, ε")
    console.say("and on")
    assert written.getvalue().decode("latin-1") == "\\u03a3 of 3×4, \\u03b5\nand on\n"


def test_a_live_line_is_ended_before_the_next_and_before_an_error(capsys):
    stream = io.StringIO()
    console = Console(stream=stream)
    console.rewrite("step 1")
    console.say("saved")
    console.rewrite("step 2")
    console.error("stopped")
    assert stream.getvalue() == "\r\x1b[2Kstep 1\nsaved\n\r\x1b[2Kstep 2\n\n"
    assert capsys.readouterr().err == "neural-style-tf: stopped\n"


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        (
            "terminal",
            [f"\r\x1b[2K{line}" for line in ("  20 of 80 MB  10 MB/s  0:06 left", "  80 of 80 MB  10 MB/s")],
        ),
        ("file", ["  80 of 80 MB  10 MB/s\n"]),
        ("slow file", ["  20 of 80 MB  1 MB/s  1:00 left\n", "  80 of 80 MB  1 MB/s\n"]),
        ("quiet", []),
    ],
)
def test_a_download_shows_how_far_it_is(monkeypatch, kind, shown):
    stream = io.StringIO()
    stream.isatty = lambda: kind == "terminal"
    download = Download(Console(quiet=kind == "quiet", stream=stream))
    pace = 10 if kind == "slow file" else 1
    for seconds, megabytes in ((0, 0), (0.1, 1), (2, 20), (2.1, 21), (8, 80)):
        monkeypatch.setattr(module.time, "monotonic", lambda now=100 + pace * seconds: now)
        download(megabytes * 10**6, 80 * 10**6)
    assert stream.getvalue() == "".join(shown)


def test_a_quiet_console_shows_errors_only(capsys):
    stream = io.StringIO()
    console = Console(quiet=True, stream=stream)
    console.say("a line")
    console.error("stopped")
    assert stream.getvalue() == "" and "stopped" in capsys.readouterr().err
