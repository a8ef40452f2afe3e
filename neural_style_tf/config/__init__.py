"""The settings of a run: their declarations, types and presets."""

from neural_style_tf.config.presets import PRESETS, preset
from neural_style_tf.config.schema import Config, Job

__all__ = ["PRESETS", "Config", "Job", "preset"]
