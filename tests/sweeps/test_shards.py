"""Parts of a sweep, from `--shard` and from Slurm's variables."""

import pytest

from neural_style_tf.errors import UserError
from neural_style_tf.sweeps.shards import find_shard, part_of

SLURM = {f"SLURM_ARRAY_TASK_{name}": "4" for name in ("COUNT", "ID")} | {"SLURM_ARRAY_TASK_MIN": "1"}


@pytest.mark.parametrize("count", [1, 3, 12])
def test_parts_hold_every_item_once_and_are_of_equal_length(count):
    items = list(range(10))
    parts = [list(part_of(items, index, count)) for index in range(count)]
    assert [item for part in parts for item in part] == items
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("flag", "environment", "shard"),
    [
        ("auto", {}, (1, 1)),
        ("2/3", {}, (2, 3)),
        ("auto", SLURM, (4, 4)),
        ("none", SLURM, (1, 1)),
        ("1/2", SLURM, (1, 2)),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_STEP": "2"}, (3, 4)),
        ("auto", {"SLURM_ARRAY_TASK_COUNT": "1", "SLURM_ARRAY_TASK_ID": "7"}, (1, 1)),
    ],
)
def test_the_part_of_a_command(flag, environment, shard):
    assert find_shard(flag, environment) == shard


@pytest.mark.parametrize(
    ("flag", "environment"),
    [
        *((flag, {}) for flag in ("0/3", "4/3", "3", "a/b", "1/0", "-1/2", "1/2/3", "²/3", "")),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_ID": "9"}),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_STEP": "0"}),
        ("auto", {"SLURM_ARRAY_TASK_COUNT": "3"}),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_STEP": "2"}),
    ],
)
def test_parts_that_cannot_be_are_refused(flag, environment):
    with pytest.raises(UserError, match="--shard"):
        find_shard(flag, environment)
