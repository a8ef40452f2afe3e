"""How much memory a run takes, by its estimate, and how much there is, from faked control groups."""

import functools
import subprocess
import sys

import pytest
from command_line import environment
from paths import ROOT
from resident import number_from

from neural_style_tf.config.schema import Config
from neural_style_tf.models.architecture import VGG16
from neural_style_tf.tiling import memory_model, system_memory

MEGAPIXEL = 1000, 1000


def estimate(size=MEGAPIXEL, tile=None, settings=(), **options):
    return memory_model.estimate_run(Config(**dict(settings)), size, tile, **options)


@pytest.mark.parametrize(
    ("side", "tile", "megabytes"),
    [
        (1000, None, 1337),
        (2000, None, 5072),
        (2000, 1024, 2415),
        (4000, 2048, 7214),
        (4000, 1024, 3457),
        (8000, 1024, 6585),
    ],
)
def test_the_estimate_is_safe_and_near_what_was_measured(side, tile, megabytes):
    """The table of docs/large_pictures.md, in bfloat16."""
    assert megabytes <= estimate((side, side), tile, half=True) / 1e6 <= 1.25 * megabytes


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in other units elsewhere")
@pytest.mark.parametrize("convolution", ["direct", "winograd"])
def test_the_estimate_is_safe_and_near_what_is_measured(convolution):
    sizes = ("--sizes", "0.25", "0.64", "1", "--tiles", "none", "256")
    command = [sys.executable, "benchmarks/scale.py", *sizes, f"--convolution={convolution}"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), check=True, stdout=subprocess.PIPE, text=True)
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| 0.")]
    assert len(rows) == 4
    for *_, beyond, estimated in rows:
        assert 0.95 * float(beyond) <= float(estimated) <= 1.6 * float(beyond), rows


def test_what_a_pair_of_the_history_a_content_layer_or_a_second_pixel_adds():
    plain, lbfgs = estimate(), {"optimizer": "lbfgs", "history": 20}
    assert estimate(settings={"history": 40}) == plain
    assert estimate(settings=lbfgs | {"history": 21}) - estimate(settings=lbfgs) == 2 * 3 * 4 * 10**6
    assert estimate(settings={"averaging": 0.9}) - plain == 3 * 3 * 4 * 10**6
    assert estimate((2000, 1000)) - plain == pytest.approx(plain - estimate((1, 1)), rel=1e-3)


def test_what_takes_less_and_what_takes_more():
    shallow = {"content_layers": (("relu1_1", 1.0),), "style_layers": (("relu1_1", 1.0),)}
    assert estimate(settings=shallow) < 0.65 * estimate()
    assert 0.5 < estimate(half=True) / estimate() < 0.65
    assert 0.5 < estimate((4096, 4096), 512, half=True) / estimate((4096, 4096), 512) < 0.9
    assert estimate(architecture=VGG16) < estimate()
    # Beside the direct kernels those of 36 numbers for 9, and the products for every 4 × 4 pixels.
    assert estimate() + 300e6 < estimate(winograd=True) < 1.5 * estimate()
    # The photo, and for each region at least its mask and the widest layer's features.
    assert estimate(settings={"colors": "content"}) - estimate() == 4 * 3 * 10**6
    assert estimate(regions=3) - estimate(regions=1) > 2 * 4 * 65 * 10**6


def test_tiles_bound_the_step_but_not_the_pictures():
    tiled = [estimate((side, side), 512) for side in (2048, 4096, 8192)]
    assert tiled[0] < estimate((2048, 2048)) / 4
    # At most 100 MB per megapixel: image, best, gradient, Adam's two, and the photo's features.
    assert tiled[2] - tiled[1] == 4 * (tiled[1] - tiled[0]) <= 100 * 3 * 4096**2
    assert estimate(tile=1000) == estimate(tile=5000) == estimate()
    assert estimate(tile=128) < estimate(tile=256) < estimate(tile=512)


def test_style_pictures_count_only_where_they_take_more_than_the_solver():
    square = (1000, 1000)
    assert estimate(styles=[square]) == estimate() == estimate(styles=[square] * 4)
    more = estimate(styles=[square] * 20) - estimate(styles=[square] * 19)
    assert more == 3 * 4 * 10**6


def test_smaller_tiles():
    assert memory_model.smaller_tile(None, (3000, 5000)) == 4096
    assert memory_model.smaller_tile(None, (300, 500)) == 256
    assert memory_model.smaller_tile(4096, (300, 500)) == 256
    assert memory_model.smaller_tile(1000, (3000, 5000)) == 512
    assert memory_model.smaller_tile(256, (3000, 5000)) is None
    assert memory_model.smaller_tile(None, (40, 48)) is None


def test_large_style_pictures_are_looked_at_in_tiles():
    look = functools.partial(memory_model.tile_to_look, size=(1000, 1000), halo=100)
    assert look((1000, 1000), tile=None) is None and look((1000, 2000), tile=None) is None
    assert look((9000, 9000), tile=512) == 512
    # (1024 + 2 × 100)² is within two million pixels, (2048 + 2 × 100)² is not.
    assert look((9000, 9000), tile=None) == look((9000, 9000), tile=2048) == 1024
    assert memory_model.tile_to_look((300, 800), (40, 40), None, halo=100) is None
    assert memory_model.tile_to_look((700, 800), (40, 40), None, halo=100) == 256


def test_the_tile_is_the_largest_that_fits_or_the_one_that_takes_the_least():
    bytes_needed = {None: 200, 4096: 100, 2048: 90, 1024: 80, 512: 70, 256: 75}
    for available, expected in ((None, None), (250, None), (125, 4096), (110, 1024), (10, 512)):
        assert memory_model.choose_tile("auto", bytes_needed.get, available) == expected
    assert memory_model.choose_tile("300", bytes_needed.get, 10) == 300
    assert memory_model.choose_tile("none", bytes_needed.get, 10) is None


@pytest.fixture
def left(tmp_path, monkeypatch):
    """Return a function that adds files to a faked system and returns the memory that is left there."""
    monkeypatch.setattr(system_memory, "ROOT", tmp_path)

    def add(files, folder=""):
        for name, text in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return system_memory.available_bytes()

    return add


MEMINFO = {"proc/meminfo": "MemTotal: 9000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n"}
MACHINE = 8_000_000 * 1024
V1, V2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"
UNLIMITED_V1 = "9223372036854771712\n"


def test_the_machine(left):
    assert left({}) is None
    assert left(MEMINFO) == MACHINE


def test_cgroup_v2_counts_every_level(left):
    left(MEMINFO | {"proc/self/cgroup": "0::/slice/job\n"})
    assert left({"slice/job/memory.max": "max\n", "slice/job/memory.current": "10\n"}, V2) == MACHINE
    assert left({"slice/memory.max": "5000\n", "slice/memory.current": "3000\n"}, V2) == 2000
    statistics = {"slice/memory.stat": "anon 1\ninactive_file 500\ntotal_inactive_file 9\n"}
    assert left(statistics, V2) == 2500
    assert left({"slice/job/memory.max": "900\n"}, V2) == 890


def test_cgroup_v2_inside_a_container(left):
    """The path is the host's, the group is at the top; more may be used than is allowed."""
    left(MEMINFO | {"proc/self/cgroup": "0::/docker/abc\n"})
    assert left({"memory.max": "7000\n", "memory.current": "6000\n"}, V2) == 1000
    assert left({"memory.current": "8000\n"}, V2) == 0


def test_cgroup_v1(left):
    groups = "9:name=systemd:/\n5:cpu,memory:/job\n4:cpuset:/other\n0::/\n"
    left(MEMINFO | {"proc/self/cgroup": groups})
    assert left({"memory.limit_in_bytes": UNLIMITED_V1, "memory.usage_in_bytes": "100\n"}, V1) == MACHINE
    left({"job/memory.limit_in_bytes": "4000\n", "job/memory.usage_in_bytes": "3500\n"}, V1)
    assert left({"job/memory.stat": "inactive_file 9\ntotal_inactive_file 250\n"}, V1) == 750


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_limit_on_the_address_space_and_no_tensorflow():
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "from neural_style_tf.tiling import memory_model, system_memory\n"
        "print(system_memory.available_bytes()); sys.exit('tensorflow' in sys.modules)"
    )
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=True)
    assert 2**27 < int(done.stdout) < 2**29
    assert system_memory.available_bytes() > 2**20


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_sparing_memory_that_is_free_goes_back():
    script = (
        "from resident import now\n"
        "from neural_style_tf.utils.runtime import start_tensorflow; start_tensorflow(sparing=True)\n"
        "import tensorflow as tf\n"
        "big = [tf.ones([40_000_000]) for _ in range(2)]\n"
        "full = now(); big.clear(); print(full - now())"
    )
    assert number_from(script) > 300e6
