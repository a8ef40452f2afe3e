"""Read, write and resize pictures, and manage their colours.

A picture is an array `[H, W, 3]` in the order RGB, in sRGB, 0–255.
"""

from neural_style_tf.images.color import is_gray
from neural_style_tf.images.masks import fill_hidden
from neural_style_tf.images.read import MAX_PIXELS, Picture, load_image
from neural_style_tf.images.resize import fit_size, resize
from neural_style_tf.images.write import check_output, save_image, to_picture

__all__ = [
    "MAX_PIXELS",
    "Picture",
    "check_output",
    "fill_hidden",
    "fit_size",
    "is_gray",
    "load_image",
    "resize",
    "save_image",
    "to_picture",
]
