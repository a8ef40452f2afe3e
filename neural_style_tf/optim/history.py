"""Ring buffer of the last images, or gradients, of L-BFGS, as the rows of one variable [rows, H · W · C].

It is read, and a row of it is replaced, without a copy. A variable of which a slice was once assigned gives
out copies ever after: each of the four readings of a step would take as much memory again. So the variable is
emptied while a row of its matrix is replaced.
"""

from __future__ import annotations

import tensorflow as tf


def make_history(rows: int, image: tf.Variable) -> tf.Variable:
    """Return a variable of `rows` zeros like an image [1, H, W, C]."""
    return tf.Variable(tf.zeros([rows, tf.size(image)], image.dtype), shape=[None, None])


def read(history: tf.Variable, rows: int, image: tf.Variable) -> tf.Tensor:
    """Return all rows, [rows, H · W · C], in no order."""
    return tf.ensure_shape(history.read_value(), [rows, image.shape.num_elements()])


def put(history: tf.Variable, row: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Replace a row (int32 scalar) by an image; return all rows.

    Nothing else may read the history meanwhile.
    """
    matrix = history.read_value()
    with tf.control_dependencies([matrix]):
        emptied = history.assign(tf.zeros([0, 0], image.dtype))
    with tf.control_dependencies([emptied]):
        matrix = tf.raw_ops.TensorStridedSliceUpdate(
            input=matrix,
            begin=tf.stack([row, 0]),
            end=tf.stack([row + 1, tf.size(image)]),
            strides=[1, 1],
            value=tf.reshape(image, [1, -1]),
        )
    history.assign(matrix)
    return matrix


def clear(history: tf.Variable, rows: int) -> None:
    """Make every row 0 again; what is not finite would spoil products even where it counts 0 times."""
    columns = tf.raw_ops.VariableShape(input=history.handle)[1]
    with tf.control_dependencies([history.assign(tf.zeros([0, 0], history.dtype))]):
        # `tf.zeros` becomes a constant, which stays in memory.
        blank = tf.raw_ops.Empty(shape=[rows, columns], dtype=history.dtype, init=True)
    history.assign(blank)
