"""The nodes for ComfyUI, against a stand-in of its interface and of the program."""

import ast
import importlib.util
import io
import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import tomllib
import types
from pathlib import Path

import numpy as np
import pytest
from command_line import BUNDLED
from paths import ROOT
from PIL import Image

import neural_style_tf
from neural_style_tf.app.requests import LARGEST, fill_regions
from neural_style_tf.cli import flags as flags_module
from neural_style_tf.config.presets import PRESETS
from neural_style_tf.config.schema import QUALITIES, SETTINGS

PACK = ROOT / "integrations" / "comfyui"
FAKE = ROOT / "tests" / "helpers" / "fake_program.py"


class Tensor:
    """As much of torch.Tensor as the node uses."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def cpu(self):
        return self

    def float(self):
        return Tensor(self.array.astype(np.float32))

    def numpy(self):
        return self.array


class InterruptProcessingException(Exception):
    pass


class Comfy:
    """The parts of ComfyUI that the node uses, and what it did with them."""

    def __init__(self, folder):
        self.updates, self.interrupted, self.unloaded = [], False, 0
        self.temp = folder / "tëmp of ComfyUI [1]*"
        self.models = folder / "models"

    def modules(self):
        comfy = self

        class ProgressBar:
            def __init__(self, total, node_id=None):
                self.total = total

            def update_absolute(self, value, total=None, preview=None):
                self.total = total or self.total
                comfy.updates.append((value, self.total, preview))

        def throw():
            if comfy.interrupted:
                comfy.interrupted = False
                raise InterruptProcessingException

        def unload():
            comfy.unloaded += 1

        management = types.SimpleNamespace(
            throw_exception_if_processing_interrupted=throw,
            unload_all_models=unload,
            soft_empty_cache=lambda: None,
        )
        utils = types.SimpleNamespace(ProgressBar=ProgressBar)
        return {
            "comfy": types.SimpleNamespace(model_management=management, utils=utils),
            "comfy.model_management": management,
            "comfy.utils": utils,
            "folder_paths": types.SimpleNamespace(
                get_temp_directory=lambda: str(self.temp), models_dir=str(self.models)
            ),
            "torch": types.SimpleNamespace(from_numpy=Tensor, Tensor=Tensor),
        }


@pytest.fixture
def comfy(tmp_path, monkeypatch):
    comfy = Comfy(tmp_path)
    for name, module in comfy.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return comfy


@pytest.fixture
def pack(comfy, monkeypatch):
    """The pack, loaded as ComfyUI loads a folder of custom_nodes: by its path, which is its name."""
    name = str(PACK).replace(".", "_x_")
    spec = importlib.util.spec_from_file_location(name, PACK / "__init__.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    yield module
    for own in [other for other in sys.modules if other.startswith(f"{name}.")]:
        del sys.modules[own]


@pytest.fixture
def node(pack):
    return pack.NODE_CLASS_MAPPINGS["NeuralStyleTransfer"]


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Install the fake program; return a function that sets its behaviour, with `calls()` so far."""
    path = tmp_path / "a program" / "neural-style-tf"
    path.parent.mkdir()
    path.write_text(f"#!{sys.executable}\n" + FAKE.read_text(encoding="utf-8"), encoding="utf-8")
    path.chmod(0o755)
    log = tmp_path / "calls.txt"
    log.touch()
    monkeypatch.setenv("NEURAL_STYLE_TF", str(path))
    monkeypatch.delenv("NEURAL_STYLE_TF_FLAGS", raising=False)
    monkeypatch.setenv("FAKE_LOG", str(log))

    def behave(how):
        monkeypatch.setenv("FAKE", how)

    behave.calls = lambda: [ast.literal_eval(line) for line in log.read_text(encoding="utf-8").splitlines()]
    behave.saved = lambda: log.with_suffix(".interrupted").exists()
    behave.path = path
    return behave


def picture(*shape, seed=0):
    return Tensor(np.random.default_rng(seed).uniform(0, 1, shape).astype(np.float32))


def defaults(node):
    required = node.INPUT_TYPES()["required"]
    return {name: spec[1]["default"] for name, spec in required.items() if len(spec) > 1}


def paint(node, **inputs):
    """Paint with the defaults of the node, as its executor calls it."""
    given = {"photo": picture(1, 20, 30, 3), "style_1": picture(1, 9, 8, 3, seed=1)} | inputs
    (painting,) = getattr(node(), node.FUNCTION)(**defaults(node) | given)
    return painting.array


def flags_of(call):
    """Return the values of each flag of a call of the program."""
    values = {}
    for argument in call[2]:
        name, _, value = argument.removeprefix("--").partition("=")
        values.setdefault(name, []).append(value)
    return values


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(holds, seconds=20):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_pack_is_what_comfyui_expects(pack, node):
    assert pack.NODE_CLASS_MAPPINGS.keys() == pack.NODE_DISPLAY_NAME_MAPPINGS.keys()
    assert pack.NODE_DISPLAY_NAME_MAPPINGS["NeuralStyleTransfer"] == "Neural Style Transfer"
    inputs = node.INPUT_TYPES()
    assert [name for name, spec in inputs["required"].items() if spec == ("IMAGE",)] == ["photo", "style_1"]
    assert list(inputs["optional"].values()) == [("IMAGE",)] * 2 + [("MASK",)] * 3
    assert node.RETURN_TYPES == ("IMAGE",) and callable(getattr(node, node.FUNCTION))
    seed = inputs["required"]["seed"][1]
    assert seed["control_after_generate"] is True and seed["max"] == 2**64 - 1


def test_the_settings_are_the_programs(node):
    required, flags = node.INPUT_TYPES()["required"], sys.modules[node.__module__].FLAGS
    assert required["preset"][0] == list(PRESETS)[::-1]
    assert required["quality"][0] == list(QUALITIES)
    assert required["colors"][0] == list(SETTINGS["colors"].metadata["choices"])
    for name in defaults(node):
        field = SETTINGS[flags.get(name, name)]
        limits = field.metadata["limits"]
        if "low" in limits:
            assert required[name][1]["min"] >= limits["low"]
        if "high" in limits:
            assert required[name][1]["max"] <= limits["high"]
        if name != "preset":
            assert required[name][1]["default"] in (field.default, *np.ravel(field.default))


def test_the_ranges_are_the_pages(node):
    tree = ast.parse((ROOT / "neural_style_tf" / "app" / "layout.py").read_text(encoding="utf-8"))
    dicts = [found for found in ast.walk(tree) if isinstance(found, ast.Dict)]
    controls = {
        key.value: value for found in dicts for key, value in zip(found.keys, found.values, strict=True)
    }
    required, flags = node.INPUT_TYPES()["required"], sys.modules[node.__module__].FLAGS
    for name in ("strength", "stroke_size", "size"):
        own = required[name][1]
        limits = [
            LARGEST if isinstance(number, ast.Name) else ast.literal_eval(number)
            for number in controls[flags.get(name, name)].args[:2]
        ]
        assert limits == [own["min"], own["max"]]


def test_version_and_dependencies_of_the_pack():
    project = tomllib.loads((PACK / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == neural_style_tf.__version__
    # TensorFlow must not get into ComfyUI's environment.
    assert project["dependencies"] == []


def test_a_painting(comfy, node, program):
    photo = picture(1, 20, 30, 3)
    painting = paint(node, photo=photo, strength=0.7, stroke_size=2.0, size=96, seed=2**64 - 1)
    assert painting.dtype == np.float32 and painting.shape == (1, 20, 30, 3)
    np.testing.assert_allclose(painting, photo.array, atol=1 / 255)
    [call] = program.calls()
    flags = flags_of(call)
    assert flags["strength"] == ["0.7"] and flags["style_scale"] == ["2.0"] and flags["image_size"] == ["96"]
    assert flags["seed"] == [str(2**64 - 1)] and flags["preset"] == ["balanced"]
    assert flags["content"] == ["photo.png"] and flags["style"] == ["style_1.png"]
    assert "content_mask" not in flags and flags["weights_dir"] == [str(comfy.models / "neural_style_tf")]
    # The real program reads them.
    config, job = flags_module.read(["run.py", *call[2]]).settings()
    assert config.loss.strength == 0.7 and config.sizes.image_size == 96 and not config.saving.checkpoints
    assert job.style == ("style_1.png",)
    assert comfy.unloaded == 1
    # The temporary folder of the painting is gone.
    assert not list(comfy.temp.iterdir())


@pytest.mark.slow
def test_a_painting_of_the_real_program(comfy, node, monkeypatch):
    monkeypatch.setenv("NEURAL_STYLE_TF", sys.executable)
    monkeypatch.setenv("NEURAL_STYLE_TF_FLAGS", shlex.join(BUNDLED))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    photo, mask = picture(1, 64, 80, 3), np.zeros((1, 64, 64), np.float32)
    mask[..., :32] = 1
    painting = paint(node, photo=photo, mask_1=Tensor(mask), style_1=picture(1, 64, 64, 3), size=64)
    assert painting.shape == (1, 51, 64, 3) and painting.std() > 0.05
    assert comfy.updates[-1][0] == comfy.updates[-1][1] and comfy.updates[-1][2]
    assert not list(comfy.temp.iterdir())


def test_progress_with_previews(comfy, node, program):
    paint(node, photo=picture(2, 600, 40, 3))
    values = [value / total for value, total, _ in comfy.updates]
    assert values == sorted(values) and values[-1] == 1 and 0 < values[0] < 0.5
    previews = [preview for _, _, preview in comfy.updates if preview]
    assert len(previews) >= 4
    for kind, image, longest in previews:
        assert kind == "JPEG" and image.mode == "RGB" and max(image.size) == longest == 512


def test_a_batch_goes_in_pairs(node, program):
    photos, styles = picture(2, 20, 30, 3), picture(3, 9, 8, 3)
    painting = paint(node, photo=photos, style_1=styles, mask_1=picture(1, 5, 5))
    assert painting.shape == (3, 20, 30, 3)
    np.testing.assert_allclose(painting, photos.array[[0, 1, 0]], atol=1 / 255)
    assert len(program.calls()) == 3


def read_inputs(node, monkeypatch, **inputs):
    """Return the pictures that the program would be given, by flag."""
    read = {}

    def run(command, folder, look):
        for name, _, value in (argument.removeprefix("--").partition("=") for argument in command):
            if value.endswith(".png"):
                with Image.open(folder / value) as image:
                    read.setdefault(name, []).append(np.asarray(image))
        (folder / "run").mkdir()
        Image.fromarray(read["content"][0]).save(folder / "run" / "result.png")

    monkeypatch.setattr(sys.modules[node.__module__], "run", run)
    return paint(node, **inputs), read


def test_opacity(node, program, monkeypatch):
    photo, style = picture(1, 20, 30, 4), picture(1, 9, 8, 4)
    painting, read = read_inputs(node, monkeypatch, photo=photo, style_1=style)
    assert painting.shape == (1, 20, 30, 4)
    np.testing.assert_allclose(painting, photo.array, atol=1 / 255)
    np.testing.assert_allclose(read["style"][0] / 255, style.array[0], atol=1 / 255)


def test_grey_and_values_beyond(node, program, monkeypatch):
    photo = Tensor(np.linspace(-1, 2, 30, dtype=np.float32).reshape(1, 5, 6, 1))
    painting, read = read_inputs(node, monkeypatch, photo=photo)
    assert painting.shape == (1, 5, 6, 3) and read["content"][0].shape == (5, 6, 3)
    np.testing.assert_allclose(painting[..., :1], np.clip(photo.array, 0, 1), atol=1 / 255)


def test_masks_of_other_sizes_and_styles_that_get_the_rest(node, program, monkeypatch):
    left = np.zeros((1, 4, 6), np.float32)
    left[..., :3] = 1
    styles = {"style_1": picture(1, 9, 8, 3), "style_3": picture(1, 7, 8, 3)}
    _, read = read_inputs(node, monkeypatch, **styles, mask_3=Tensor(left))
    assert [style.shape for style in read["style"]] == [(9, 8, 3), (7, 8, 3)]
    rest, own = read["content_mask"]
    # At the photo's size, and without a seam between them.
    assert own.shape == (20, 30) and (own[:, :10] == 255).all() and (own[:, 20:] == 0).all()
    np.testing.assert_array_equal(own + rest, np.full((20, 30), 255))


def test_regions_are_those_of_the_page(node):
    """Both have a function for them, since ComfyUI's environment has not the package."""

    def answer(fill, *arguments):
        try:
            return np.array(fill(*arguments)).tolist()
        except ValueError:
            return "the others leave nothing"

    drawn = np.random.default_rng(0).random((2, 5, 6)) < 0.4
    for regions in itertools.product((None, np.ones((5, 6), bool), *drawn), repeat=3):
        masks = {
            number: None if region is None else np.where(region, np.uint8(255), np.uint8(0))
            for number, region in enumerate(regions, 1)
        }
        theirs = answer(lambda regions: 255 * np.array(fill_regions(regions)), regions)
        assert answer(sys.modules[node.__module__].fill_regions, masks, (5, 6)) == theirs


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (1, 1, 4, 6), (1, 4, 6, 1)])
def test_shapes_of_masks(node, program, monkeypatch, shape):
    _, read = read_inputs(node, monkeypatch, mask_1=Tensor(np.full(shape, 0.5, np.float32)))
    np.testing.assert_array_equal(read["content_mask"][0], np.full((4, 6), 128))


def test_masks_of_a_batch(node, program, monkeypatch):
    masks = np.stack([np.full((4, 6), 0.2, np.float32), np.full((4, 6), 0.8, np.float32)])
    _, read = read_inputs(node, monkeypatch, photo=picture(3, 20, 30, 3), mask_1=Tensor(masks))
    assert [np.unique(mask).tolist() for mask in read["content_mask"]] == [[51], [204], [51]]


HALF_EMPTY = Tensor(np.stack([np.ones((4, 4), np.float32), np.zeros((4, 4), np.float32)]))
NAN = Tensor(np.full((1, 4, 4, 3), np.nan, np.float32))


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"style_1": None}, "no style is connected"),
        ({"photo": NAN}, "photo has values that are no numbers"),
        ({"style_1": NAN}, "style_1 has values that are no numbers"),
        ({"photo": picture(1, 4, 4, 8)}, r"photo is 1 × 4 × 4 × 8: expected a picture"),
        ({"photo": picture(0, 4, 4, 3)}, r"photo is 0 × 4 × 4 × 3: expected a picture"),
        ({"mask_1": picture(2, 3, 4, 5)}, r"mask_1 is 2 × 3 × 4 × 5: expected a mask"),
        ({"mask_1": Tensor(np.zeros((1, 64, 64), np.float32))}, "mask_1 is 0 everywhere: draw where"),
        ({"mask_1": Tensor(np.full((1, 4, 4), np.inf, np.float32))}, "mask_1 has values that are no numbers"),
        # The second one of the batch.
        ({"photo": picture(2, 4, 4, 3), "mask_1": HALF_EMPTY}, "mask_1 is 0 everywhere: draw where"),
        ({"mask_2": picture(1, 4, 4)}, "mask_2 is connected, and style_2 is not"),
        (
            {"style_3": picture(1, 4, 4, 3), "mask_1": Tensor(np.ones((1, 4, 4), np.float32))},
            "the whole photo to other styles than style_3",
        ),
    ],
)
def test_inputs_that_cannot_be_used(node, comfy, program, inputs, message):
    with pytest.raises(ValueError, match=message) as caught:
        paint(node, **inputs)
    assert "\n" not in str(caught.value)
    assert not program.calls() and not comfy.temp.exists()


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ("refuses", r"--image_size must be at least 1, not 0"),
        ("crashes", r"neural-style-tf failed: KeyError: 'a bug'"),
        ("dies", r"neural-style-tf was ended by signal 9, as the system does when memory is short: .*"),
        ("says why and dies", r"the disk is full"),
        ("writes nothing", r"the files of a painting cannot be kept in .*: No such file or directory"),
    ],
)
def test_a_failure_says_why_in_one_line(node, comfy, program, behaviour, message):
    program(behaviour)
    with pytest.raises(RuntimeError, match=f"^{message}$"):
        paint(node)
    assert not list(comfy.temp.iterdir())


@pytest.mark.parametrize("code", [255, 0xC0000005])
def test_a_code_that_is_no_signal(node, code):
    progress_type = sys.modules[node.__module__].Progress
    process = types.SimpleNamespace(stdout=io.BytesIO(b"a last line\n"))
    assert progress_type(process).mistake(code) == "neural-style-tf failed: a last line"


def test_output_that_nobody_reads_does_not_block(node, program):
    program("chatty")
    assert paint(node).shape == (1, 20, 30, 3)


@pytest.mark.parametrize("behaviour", ["slow", "starts", "deaf"])
def test_an_interrupt(node, comfy, program, behaviour, monkeypatch, tmp_path):
    program(behaviour)
    if behaviour == "deaf":
        patient(node, monkeypatch, tmp_path, seconds=0.3)
    results = []

    def start():
        try:
            paint(node)
        except InterruptProcessingException:
            results.append("interrupted")

    thread = threading.Thread(target=start)
    thread.start()
    if behaviour == "starts":
        wait_until(lambda: program.calls())
        time.sleep(0.2)
    else:
        wait_until(lambda: comfy.updates)
    comfy.interrupted = True
    wait_until(lambda: not comfy.interrupted)
    # The second one comes while the node waits for the program to save.
    comfy.interrupted = True
    thread.join(20)
    assert results == ["interrupted"] and program.saved() == (behaviour != "deaf")
    [(pid, _, _)] = program.calls()
    assert not is_running(pid) and not list(comfy.temp.iterdir())


def patient(node, monkeypatch, tmp_path, *, seconds):
    """Let the supervisor wait `seconds` for the program to save."""
    copy = tmp_path / "supervise.py"
    text = (PACK / "supervise.py").read_text(encoding="utf-8")
    copy.write_text(re.sub(r"(?m)^SECONDS_TO_SAVE = .*", f"SECONDS_TO_SAVE = {seconds}", text))
    own = sys.modules[node.__module__.removesuffix(".node") + ".program"]
    monkeypatch.setattr(own, "__file__", str(copy.with_name("program.py")))


def test_two_at_once(node, comfy, program):
    results = []
    threads = [threading.Thread(target=lambda: results.append(paint(node))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [result.shape for result in results] == [(1, 20, 30, 3)] * 2
    assert len({folder for _, folder, _ in program.calls()}) == 2 and not list(comfy.temp.iterdir())


OWNER = """
import subprocess, sys, time
process = subprocess.Popen([sys.executable, *sys.argv[1:]], stdin=subprocess.PIPE, start_new_session=True)
time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_no_painting_goes_on_without_comfyui(program, tmp_path, number):
    program("slow")
    Image.new("RGB", (4, 4)).save(tmp_path / "c.png")
    command = [PACK / "supervise.py", program.path, "--content=c.png", "--output_dir=run"]
    owner = subprocess.Popen([sys.executable, "-c", OWNER, *command], cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        wait_until(program.calls)
        [(pid, _, _)] = program.calls()
        wait_until((tmp_path / "run" / "result.png").exists)
        owner.send_signal(number)
        owner.wait(20)
        wait_until(lambda: not is_running(pid))
        assert program.saved()
    finally:
        owner.kill()
        owner.wait()


def test_a_killed_supervisor_leaves_nothing(node, comfy, program):
    program("slow")
    results = []

    def start():
        try:
            paint(node)
        except RuntimeError as error:
            results.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    wait_until(lambda: comfy.updates)
    [(pid, _, _)] = program.calls()
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    thread.join(20)
    wait_until(lambda: not is_running(pid))
    assert "ended by signal 9" in results[0] and not list(comfy.temp.iterdir())


def test_a_full_disk(node, comfy, program, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(RuntimeError, match=r"cannot be kept in .*: No space left on device$"):
        paint(node)
    assert not program.calls() and not list(comfy.temp.iterdir())


class TestWhereTheProgramIs:
    @pytest.fixture(autouse=True)
    def elsewhere(self, monkeypatch):
        """Nothing is set, and the package is not installed."""
        for name in ("NEURAL_STYLE_TF", "NEURAL_STYLE_TF_FLAGS"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("PATH", "")
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    @pytest.fixture
    def find(self, node):
        return sys.modules[node.__module__].find_program

    def test_nowhere(self, node, find):
        message = "neural-style-tf is not installed here: .* set the environment variable NEURAL_STYLE_TF "
        with pytest.raises(RuntimeError, match=message):
            paint(node)
        with pytest.raises(RuntimeError, match=message):
            node.VALIDATE_INPUTS()

    def test_a_wrong_path(self, find, monkeypatch, tmp_path):
        monkeypatch.setenv("NEURAL_STYLE_TF", str(tmp_path / "gone"))
        with pytest.raises(RuntimeError, match=r"NEURAL_STYLE_TF is '.*gone', where no program is: expected"):
            find()

    def test_a_python(self, find, monkeypatch, node):
        monkeypatch.setenv("NEURAL_STYLE_TF", sys.executable)
        monkeypatch.setenv("NEURAL_STYLE_TF_FLAGS", "--weights=bundled --weights_dir='a b'")
        program, flags = find()
        assert program[:2] == [sys.executable, "-c"] and flags == ["--weights=bundled", "--weights_dir=a b"]
        assert node.VALIDATE_INPUTS() is True
        # With the real package, which paints as `neural-style-tf` does.
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run([*program, "--nonsense"], capture_output=True, text=True, env=environment)
        assert done.returncode == 2 and done.stderr.startswith("neural-style-tf: ")

    def test_flags_that_cannot_be_read(self, find, monkeypatch):
        monkeypatch.setenv("NEURAL_STYLE_TF_FLAGS", "--weights='bundled")
        with pytest.raises(RuntimeError, match="NEURAL_STYLE_TF_FLAGS cannot be read: No closing quotation"):
            find()

    def test_comfyuis_own_python(self, find, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
        assert find()[0][:2] == [sys.executable, "-c"]

    def test_on_the_path(self, find, program, monkeypatch):
        monkeypatch.delenv("NEURAL_STYLE_TF")
        monkeypatch.setenv("PATH", str(program.path.parent))
        assert find() == ([str(program.path)], [])

    def test_a_program_that_cannot_be_started(self, node, program, monkeypatch):
        program.path.write_text("#!/no/such/interpreter\n", encoding="utf-8")
        with pytest.raises(RuntimeError, match=r"cannot be started: No such file or directory"):
            paint(node)
