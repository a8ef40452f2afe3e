"""Whether a run fits the memory at hand, and the tiles with which it does."""

from __future__ import annotations

import tensorflow as tf

from neural_style_tf.config import Config
from neural_style_tf.errors import RunError
from neural_style_tf.memory import allowed_bytes, available_bytes, estimate_bytes, tile_that_fits


def choose_tile(config: Config, size: tuple[int, int]) -> int | None:
    """Return the longest side of the tiles for a result of `size`, or None for one piece.

    `auto` looks at the memory of the host; a GPU gets the picture in one piece unless told otherwise.
    """
    if config.tile != "auto":
        return None if config.tile == "none" else int(config.tile)
    if tf.config.list_physical_devices("GPU"):
        return None
    return tile_that_fits(lambda tile: _estimate(config, size, tile), available_bytes())


def _estimate(config: Config, size: tuple[int, int], tile: int | None) -> int:
    return estimate_bytes(
        *size,
        config.layers,
        optimizer=config.optimizer,
        history=config.history,
        tile=tile,
        content_layers=tuple(name for name, _ in config.content_layers),
    )


def check_memory(config: Config, size: tuple[int, int], tile: int | None) -> None:
    """Refuse what a limit on memory would end halfway, without a word.

    Raises:
        RunError: Saying what is needed, what is there, and which flags help.
    """
    allowed = allowed_bytes()
    needed = _estimate(config, size, tile)
    if allowed is not None and needed > allowed and not tf.config.list_physical_devices("GPU"):
        raise RunError(
            f"{size[1]}×{size[0]} pixels need about {needed / 1e6:.0f} MB of memory, and a limit on this "
            f"process leaves {allowed / 1e6:.0f} MB: raise it, or try {'' if tile else '--tile=512, '}"
            "a smaller --image_size or --style_size, or with L-BFGS a shorter --history"
        )
