"""The judge of the benchmarks against the run that it judges."""

import numpy as np
import pytest
from judging import make_judge

from neural_style_tf.config.schema import Config
from neural_style_tf.transfer.session import stylize


@pytest.mark.parametrize("photo", [(40, 48, 3), (96, 80, 3)], ids=["smaller", "larger"])
def test_judges_by_the_loss_of_the_run(photo, narrow_weights):
    """A photo that is smaller than asked for has its style picture looked at as small, too."""
    generator = np.random.default_rng(3)
    content, style = (generator.uniform(0, 255, shape).astype(np.float32) for shape in (photo, (90, 100, 3)))
    config = Config(image_size=64, init="content", iterations=1)
    judge = make_judge(content, style, config, narrow_weights)
    first = next(stylize(content, style, config, weights=narrow_weights))
    assert judge(first.image) == pytest.approx(first.total, rel=1e-4)
