"""Ring buffer of L-BFGS: changes of the image, or of the gradient, as rows of a variable [rows, H · W · C].

Reading the variable and replacing a row make no copy. This needs care: once a slice of a variable has been
assigned, TensorFlow copies the variable at each reading, and each of the four readings of a step would take
as much memory again. So `put_row` empties the variable, changes the matrix that it held, and assigns it
again.
"""

from __future__ import annotations

import tensorflow as tf


def make_history(rows: int, image: tf.Variable) -> tf.Variable:
    """Return a variable with `rows` rows of zeros, each with as many numbers as `image` [1, H, W, C]."""
    return tf.Variable(tf.zeros([rows, tf.size(image)], image.dtype), shape=[None, None])


def read_rows(history: tf.Variable, rows: int, image: tf.Variable) -> tf.Tensor:
    """Return all rows [rows, H · W · C] as they are stored, not in the order of their age."""
    return tf.ensure_shape(history.read_value(), [rows, image.shape.num_elements()])


def put_row(history: tf.Variable, row: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Replace row number `row` (int32 scalar) by `image`, and return all rows.

    Nothing else may read the rows meanwhile.
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
    """Set every row to 0. A NaN in an unused row would spoil products, even if multiplied by 0."""
    columns = tf.raw_ops.VariableShape(input=history.handle)[1]
    with tf.control_dependencies([history.assign(tf.zeros([0, 0], history.dtype))]):
        # `tf.zeros` becomes a constant, which stays in memory.
        blank = tf.raw_ops.Empty(shape=[rows, columns], dtype=history.dtype, init=True)
    history.assign(blank)
