"""What the surroundings of a run may be: GPUs, settings of Keras, an installation that is not whole."""

import ast
import gc
import os
import runpy
import signal
import subprocess
import sys
import types

import pytest
import tensorflow as tf
from command_line import environment, spawn, write_picture
from harness import SMALL
from paths import ROOT

from neural_style_tf.errors import UserError, reason
from neural_style_tf.utils import runtime

METAL = (
    "dlopen(p/tensorflow-plugins/libmetal_plugin.dylib, 0x0006): Symbol not found: __ZN3tsl\\n  Referenced"
)
TRACE = (
    'Traceback (most recent call last):\n  File "x.py", line 70, in <module>\n    from x import *\n'
    "ImportError: libstdc++.so.6: no GLIBCXX_3.4.30\n\nFailed to load the native TensorFlow runtime."
)
WHEEL = ["sm_60", "sm_89", "compute_90"]
"""What TensorFlow 2.19 to 2.21 are built for."""
CARDS = {"A": ("Card A", (8, 9)), "B": ("Card B", (12, 0)), "C": ("Card C", (9, 0))}


@pytest.fixture
def folder(tmp_path):
    """Return a folder with the two pictures of `spawn`."""
    write_picture(tmp_path / "c.png")
    write_picture(tmp_path / "s.png", (40, 50), seed=1)
    return tmp_path


# GPUs


@pytest.mark.parametrize(
    ("devices", "hidden", "said"),
    [
        (["nvidia0"], None, True),
        (["nvidia0"], "-1", False),
        (["nvidiactl"], None, False),
        ([], "0", False),
        (["dxg"], None, True),
        (["dxg"], "-1", False),
    ],
)
@pytest.mark.parametrize("installed", [False, True])
def test_a_gpu_that_tensorflow_cannot_use_is_named(devices, hidden, said, installed, tmp_path, monkeypatch):
    for name in devices:
        (tmp_path / name).touch()
    monkeypatch.setattr(runtime, "_DEVICES", tmp_path)
    monkeypatch.setattr(runtime, "_WSL_DRIVERS", (tmp_path,))
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: name if installed else None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    line = runtime.unused_gpu()
    assert bool(line) is said
    assert ("neural-style-tf[gpu]" in line) is (said and not installed)
    assert ("driver" in line) is (said and installed)


@pytest.mark.parametrize(
    ("cards", "built", "used", "said"),
    [
        ("A", WHEEL, "A", ""),
        ("C", WHEEL, "C", ""),
        ("B", WHEEL, "", "Card B is not used: TensorFlow"),
        ("B", [*WHEEL, "sm_120"], "B", ""),
        ("B", [*WHEEL, "compute_120a"], "B", ""),
        ("AB", WHEEL, "A", "compute capability 12.0; going on with the other GPUs"),
    ],
)
def test_a_gpu_without_kernels_is_left_out(cards, built, used, said, monkeypatch):
    seen = []
    gpus = [tf.config.PhysicalDevice(name, "GPU") for name in cards]

    def details(gpu):
        return {"device_name": CARDS[gpu.name][0], "compute_capability": CARDS[gpu.name][1]}

    def set_visible(gpus, kind):
        seen.append("".join(gpu.name for gpu in gpus))

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config, "set_visible_devices", set_visible)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details)
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, grows: None)
    monkeypatch.setattr(tf.sysconfig, "get_build_info", lambda: {"cuda_compute_capabilities": built})
    device = runtime.start_tensorflow()
    assert seen == ([used] if used != cards else [])
    assert device == f"GPU {CARDS[used][0]}" if used else device.startswith("CPU")
    line = runtime.unused_gpu()
    assert said in line and bool(line) is bool(said)


def test_the_environment_does_not_change_what_a_precision_means(monkeypatch):
    for name in runtime._MISLEADING:
        monkeypatch.setenv(name, "1")
    runtime.start_tensorflow()
    assert not set(runtime._MISLEADING) & set(os.environ)


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_rests_while_tensorflow_is_imported(enabled):
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with runtime._without_collector():
            assert not gc.isenabled()
            made = [[]]
        assert gc.isenabled() is enabled
        assert gc.is_tracked(made) and not any(made is one for one in gc.get_objects())
    finally:
        (gc.enable if before else gc.disable)()


def test_a_cpu_starts_without_the_optimiser_of_layouts(monkeypatch):
    chosen = []
    monkeypatch.setattr(tf.config.optimizer, "set_experimental_options", chosen.append)
    runtime.start_tensorflow()
    assert chosen == [{"layout_optimizer": False}]


# Keras


@pytest.mark.slow
def test_settings_of_keras_for_other_programs_change_nothing(folder):
    """Another backend, Keras 2 and another order of dimensions, each of which ended a run in a traceback."""
    text = '{"backend": "torch", "image_data_format": "channels_first", "floatx": "float64", "epsilon": 1e-7}'
    (folder / "keras.json").write_text(text)
    settings = {"KERAS_HOME": str(folder), "KERAS_BACKEND": "jax", "TF_USE_LEGACY_KERAS": "1"}
    flags = (*SMALL, "--iterations=1", "--output_dir=o")
    process = spawn(folder, *flags, env=environment(**settings))
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "finished" in said and (folder / "o" / "result.png").exists()
    assert (folder / "keras.json").read_text() == text


def test_keras_that_was_imported_with_another_backend_is_refused(monkeypatch):
    keras = types.SimpleNamespace(backend=types.SimpleNamespace(backend=lambda: "jax"))
    monkeypatch.setitem(sys.modules, "keras", keras)
    import neural_style_tf

    for name in neural_style_tf.__all__:
        home = neural_style_tf._HOMES.get(name, "")
        if not home.startswith(neural_style_tf._ON_KERAS):
            assert getattr(neural_style_tf, name)
            continue
        with pytest.raises(UserError, match="imported with the backend jax, expected tensorflow: set"):
            getattr(neural_style_tf, name)


def test_what_is_hidden_from_keras_is_there_afterwards():
    sys.modules.pop("colorsys", None)
    with runtime._hidden(("colorsys", "os")):
        assert sys.modules["os"] is os
        with pytest.raises(ImportError):
            import colorsys
    import colorsys

    assert colorsys.ONE_THIRD and sys.modules["os"] is os


# Installations that are not whole


@pytest.mark.parametrize(
    ("module", "code", "said"),
    [
        ("tensorflow", f"raise RuntimeError('{METAL}')", "pip uninstall tensorflow-metal"),
        (
            "tensorflow",
            "raise ImportError('libx.so: no such file\\nmore')",
            "imported: libx.so: no such file; ",
        ),
        ("keras", "raise AssertionError", "imported: AssertionError in "),
        (
            "keras",
            f"raise ImportError({TRACE!r})",
            "imported: ImportError: libstdc++.so.6: no GLIBCXX_3.4.30; ",
        ),
    ],
)
def test_a_tensorflow_that_cannot_be_imported_is_one_line(tmp_path, monkeypatch, module, code, said):
    (tmp_path / f"{module}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, module)
    with pytest.raises(UserError, match="TensorFlow") as error:
        runtime._import_tensorflow()
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("code", "end", "said"),
    [
        (
            "os.write(2, b'I of no use\\nF 12: to use AVX\\n  @ 0x1'); os.abort()",
            -signal.SIGABRT,
            "F 12: to use AVX @",
        ),
        (
            "os.kill(os.getpid(), signal.SIGILL)",
            -signal.SIGILL,
            "nothing; was it built for another processor?",
        ),
        ("print('no driver', file=sys.stderr, flush=True); os._exit(3)", 3, "last words: no driver"),
    ],
)
def test_a_tensorflow_that_ends_the_process_has_its_last_words(tmp_path, code, end, said):
    (tmp_path / "keras.py").write_text(f"import os, signal, sys\n{code}")
    start = "from neural_style_tf.utils.runtime import start_tensorflow; start_tensorflow()"
    paths = environment(PYTHONPATH=f"{tmp_path}:{ROOT}")
    done = subprocess.run(
        [sys.executable, "-c", start], env=paths, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == end
    assert said in done.stderr and done.stderr.startswith("neural-style-tf: ")
    assert done.stderr.count("\n") == 1


HEADING = (
    "Version mismatch: started with:\n    Ray: 2.60.0\nThis process was started with:\n    Ray: 2.59.0\n"
)
GRAPH = (
    "Graph execution error:\n\nDetected at node a defined at (most recent call last):\n"
    "<stack traces unavailable>\nOOM\n\t [[{{node a}}]]"
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("odd\nmore", "odd"),
        (TRACE, "ImportError: libstdc++.so.6: no GLIBCXX_3.4.30"),
        (
            f"{TRACE}\nDuring handling:\n{TRACE.replace('libstdc++', 'other')}",
            "ImportError: other.so.6: no GLIBCXX_3.4.30",
        ),
        (HEADING, "Version mismatch: started with: Ray: 2.60.0 This process was started with: Ray: 2.59.0"),
        (GRAPH, "OOM"),
        ("a list of\n  one\n  two\nend", "a list of one two"),
        ("", "RuntimeError"),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        ("x " * 900, f"{'x ' * 199}…"),
    ],
)
def test_the_reason_in_a_library_s_message(text, line):
    assert reason(RuntimeError(text)) == line


def test_a_missing_tensorflow_is_found_before_anything_is_done(monkeypatch, job, capsys):
    monkeypatch.delitem(sys.modules, "tensorflow")
    monkeypatch.setattr(runtime.importlib.util, "find_spec", lambda name: None)
    assert job() == 2
    said = capsys.readouterr()
    assert "TensorFlow is not installed for this Python" in said.err and not said.out


def test_a_python_that_nothing_was_installed_for():
    done = subprocess.run(
        [sys.executable, "-S", "-E", ROOT / "run.py"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "is not installed for this Python" in done.stderr and done.stderr.count("\n") == 1


def test_a_python_too_new_is_told_which_to_take(monkeypatch):
    oldest, newest = (".".join(map(str, version)) for version in runtime.PYTHONS)
    monkeypatch.setattr(sys, "version_info", (*runtime.PYTHONS[1][:1], runtime.PYTHONS[1][1] + 1, 0))
    assert f"with Python {oldest} to {newest}" in runtime.missing_package("TensorFlow")


def test_a_python_too_old_is_told_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 10, 13))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
    assert ended.value.code == 2
    assert capsys.readouterr().err == "neural-style-tf: Python 3.11 or newer is needed, and this is 3.10\n"
    # The oldest would not get as far as the check.
    assert not any(
        isinstance(node, ast.JoinedStr) for node in ast.walk(ast.parse((ROOT / "run.py").read_text()))
    )
