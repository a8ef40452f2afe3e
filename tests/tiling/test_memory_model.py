"""How much memory a run takes, from its formula, and how much there is, from faked control groups."""

import functools
import itertools
import json
import subprocess
import sys

import pytest
from command_line import environment
from paths import ROOT
from resident import number_from

from neural_style_tf.config.schema import Config
from neural_style_tf.models.architecture import VGG19
from neural_style_tf.tiling import memory_model, system_memory

LAYERS = Config().loss.layers
MEGAPIXEL = 1000, 1000


def estimate(size=MEGAPIXEL, names=LAYERS, optimizer="adam", history=20, **keywords):
    return memory_model.estimate_bytes(*size, names, optimizer=optimizer, history=history, **keywords)


def test_kept_floats():
    assert memory_model.kept_floats(("relu5_1",)) == 320
    assert memory_model.kept_floats(("relu1_1",)) == 64
    assert memory_model.kept_floats(("pool1",)) == 64 + 64 + 16
    # A convolution that the losses look at is kept beside its ReLU.
    assert memory_model.kept_floats(("conv1_1", "relu5_1")) == 320 + 64


def test_each_part_of_the_estimate():
    plain = estimate()
    assert 2.0e9 < plain < 3.2e9
    assert estimate(history=40) == plain
    assert estimate(optimizer="lbfgs", history=21) - estimate(optimizer="lbfgs") == 2 * 3 * 4 * 10**6
    more = estimate(content_layers=("relu4_2", "relu2_2"))
    assert more - plain == 128 // 4 * 4 * 10**6
    assert estimate((2000, 1000)) - plain == pytest.approx(plain - estimate((1, 1)), rel=1e-3)
    shallow = ("relu1_1",)
    assert estimate(names=shallow, content_layers=shallow) < 0.6 * plain


def test_weights_are_counted():
    assert memory_model._weight_count(("relu5_1",)) == 12_944_960
    assert estimate((1, 1)) - estimate((1, 1), ("relu1_1",)) > 3 * 4 * 12_000_000


def test_winograd_takes_its_kernels_a_compiler_products_and_a_network_for_the_style():
    """Its kernels are four times as large, but no library keeps copies of them, one more for each pass."""
    everything, wide = (memory_model._weight_count(("relu5_1",), of) for of in (VGG19.layers, VGG19.winograd))
    assert wide == 12_944_960 - 260_160 - (9 * 512 + 1) * 512
    extra, tiled = (estimate(winograd=True, tile=t) - estimate(tile=t) for t in (None, 512))
    # In block 3 every 4 × 4 pixels are a position, and 4 × 4 of those a tile.
    fixed, products, sums = (
        4 * 2 * everything + memory_model.COMPILED,
        4 * 72 * 256 // 256,
        4 * 24 * 256 // 256,
    )
    assert extra == 2 * 4 * wide + fixed + (products + sums) * 10**6
    assert tiled == -4 * wide + fixed + (products + sums) * (512 + 80) ** 2
    assert estimate(winograd=True, half=True) - estimate(half=True) == fixed + (products / 2 + sums) * 10**6


def test_tiles_bound_the_work_but_not_the_pictures():
    tiled = [estimate((side, side), tile=512) for side in (2048, 4096, 8192)]
    assert tiled[0] < estimate((2048, 2048)) / 4
    # From one size to the next only what is the size of the picture grows: image, best, gradient, Adam's
    # two; and what the pool loses. At most 100 MB per megapixel, with the features.
    for side, (small, large) in zip((2048, 4096), itertools.pairwise(tiled), strict=True):
        grown = (large - small) / (3 * side**2)
        assert grown == 4 * (5.5 * 3 + 8) <= 100
    assert estimate(tile=1000) == estimate(tile=5000) == estimate()
    assert estimate(tile=128) < estimate(tile=256) < estimate(tile=512)


def test_half_the_size_in_bfloat16():
    assert 0.5 < estimate(half=True) / estimate() < 0.65
    assert 0.5 < estimate((4096, 4096), tile=512, half=True) / estimate((4096, 4096), tile=512) < 0.9


def test_smaller_tiles():
    assert memory_model.smaller_tile(None, (3000, 5000)) == 4096
    assert memory_model.smaller_tile(None, (300, 500)) == 256
    assert memory_model.smaller_tile(4096, (300, 500)) == 256
    assert memory_model.smaller_tile(1000, (3000, 5000)) == 512
    assert memory_model.smaller_tile(256, (3000, 5000)) is None
    assert memory_model.smaller_tile(None, (40, 48)) is None


def test_style_pictures_count_while_there_is_no_solver_yet():
    """One style as large as the result takes no more than the solver does."""
    assert estimate(styles=10**6) == estimate() == estimate(styles=4 * 10**6)
    assert estimate(styles=20 * 10**6) - estimate() == (20 - 4) * 3 * 4 * 10**6


def test_what_much_larger_pictures_are_looked_at_in():
    look = functools.partial(memory_model.tile_to_look, size=(1000, 1000), halo=100)
    assert look((1000, 1000), tile=None) is None and look((1000, 2000), tile=None) is None
    assert look((9000, 9000), tile=512) == 512
    # (1024 + 2 × 100)² is within two million pixels, (2048 + 2 × 100)² is not.
    assert look((9000, 9000), tile=None) == look((9000, 9000), tile=2048) == 1024
    assert memory_model.tile_to_look((300, 800), (40, 40), None, halo=100) is None
    assert memory_model.tile_to_look((700, 800), (40, 40), None, halo=100) == 256


def test_where_nothing_fits_what_takes_the_least_is_chosen():
    """One piece, where it is the style pictures that are too large."""
    needed = dict.fromkeys((None, *memory_model.TILES), 100)
    assert memory_model.choose_tile("auto", needed.get, 10) is None
    assert memory_model.choose_tile("auto", (needed | {512: 90}).get, 10) == 512
    assert memory_model.choose_tile("auto", (needed | {512: 8, 256: 7}).get, 10) == 512


def test_the_estimate_of_a_run_has_its_styles_as_they_are_seen():
    config = Config()
    few, many = (
        memory_model.estimate_run(config, (100, 100), None, styles=[(100, 100)] * count) for count in (1, 9)
    )
    assert many - few == (9 - 4) * 3 * 4 * 10**4


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in other units elsewhere")
@pytest.mark.parametrize("convolution", ["direct", "winograd"])
def test_the_estimate_is_what_is_measured(tmp_path, convolution):
    command = [
        sys.executable,
        "benchmarks/scale.py",
        "--sizes",
        "0.25",
        "0.64",
        "1",
        "--tiles",
        "none",
        "256",
        f"--convolution={convolution}",
    ]
    subprocess.run([*command, f"--json={tmp_path / 'rows'}"], cwd=ROOT, env=environment(), check=True)
    for row in json.loads((tmp_path / "rows").read_text()):
        assert row["estimated_mb"] == pytest.approx(row["beyond_mb"], rel=0.2), row


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


MEMINFO = {"proc/meminfo": "MemTotal: 9000000 kB\nMemFree: 1 kB\nMemAvailable:    8000000 kB\n"}
UNLIMITED_V1 = "9223372036854771712\n"


def test_the_machine(tmp_path):
    assert system_memory.available_bytes(tmp_path) is None
    write(tmp_path, MEMINFO)
    assert system_memory.available_bytes(tmp_path) == 8_000_000 * 1024


def test_cgroup_v2_counts_every_level(tmp_path):
    write(tmp_path, MEMINFO | {"proc/self/cgroup": "0::/slice/job\n"})
    top = tmp_path / "sys/fs/cgroup"
    write(top, {"slice/job/memory.max": "max\n", "slice/job/memory.current": "10\n"})
    assert system_memory.available_bytes(tmp_path) == 8_000_000 * 1024
    write(top, {"slice/memory.max": "5000\n", "slice/memory.current": "3000\n"})
    assert system_memory.available_bytes(tmp_path) == 2000
    write(top, {"slice/memory.stat": "anon 1\ninactive_file 500\ntotal_inactive_file 9\n"})
    assert system_memory.available_bytes(tmp_path) == 2500
    write(top, {"slice/job/memory.max": "900\n"})
    assert system_memory.available_bytes(tmp_path) == 890


def test_cgroup_v2_inside_a_container(tmp_path):
    """The path is the host's, the group is at the top."""
    write(tmp_path, MEMINFO | {"proc/self/cgroup": "0::/docker/abc\n"})
    write(tmp_path / "sys/fs/cgroup", {"memory.max": "7000\n", "memory.current": "6000\n"})
    assert system_memory.available_bytes(tmp_path) == 1000


def test_cgroup_v1(tmp_path):
    groups = "9:name=systemd:/\n5:cpu,memory:/job\n4:cpuset:/other\n0::/\n"
    write(tmp_path, MEMINFO | {"proc/self/cgroup": groups})
    top = tmp_path / "sys/fs/cgroup/memory"
    write(top, {"memory.limit_in_bytes": UNLIMITED_V1, "memory.usage_in_bytes": "100\n"})
    assert system_memory.available_bytes(tmp_path) == 8_000_000 * 1024
    write(top, {"job/memory.limit_in_bytes": "4000\n", "job/memory.usage_in_bytes": "3500\n"})
    write(top, {"job/memory.stat": "inactive_file 9\ntotal_inactive_file 250\n"})
    assert system_memory.available_bytes(tmp_path) == 750


def test_more_used_than_allowed_is_nothing_left(tmp_path):
    write(tmp_path, MEMINFO | {"proc/self/cgroup": "0::/\n"})
    write(tmp_path / "sys/fs/cgroup", {"memory.max": "7000\n", "memory.current": "8000\n"})
    assert system_memory.available_bytes(tmp_path) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_address_space_limit():
    script = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "from neural_style_tf.tiling import system_memory; print(system_memory.available_bytes())"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert 2**28 < int(result.stdout) < 2**29


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_this_machine():
    assert system_memory.available_bytes() > 2**20


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


def test_imports_no_tensorflow():
    script = "import sys, neural_style_tf.tiling.memory_model; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment(), check=True)


def test_masks_and_the_photos_colours_count():
    config, size = Config(style_layers=(("relu1_1", 1.0), ("relu2_1", 1.0)), content_layers=()), (1000, 1000)
    plain = memory_model.estimate_run(config, size, None)
    # Of each region a mask, guides twice, and the widest layer's features times them; what all cover, and the
    # photo; and the gradient of those features.
    per_pixel = [4 * (regions * (1 + 2 * 1.25 + 64) + 1 + 3 + 64) for regions in (1, 3)]
    for regions, expected in zip((1, 3), per_pixel, strict=True):
        more = memory_model.estimate_run(config, size, None, regions=regions) - plain
        assert more == pytest.approx(expected * 10**6)
    in_tiles = [memory_model.estimate_run(config, size, 256, regions=regions) for regions in (1, 3)]
    # Masks for all of the picture, and features of one tile.
    assert in_tiles[1] - in_tiles[0] == pytest.approx(4 * 2 * (3.5 * 10**6 + 64 * 256**2))
    kept = memory_model.estimate_run(config.replace(colors="content"), size, None)
    assert kept - plain == 4 * 3 * 10**6
