"""Ring buffer of L-BFGS: the last images, or gradients, as the rows of one variable [rows, H · W · C].

Reading it and replacing a row make no copy. Once a slice of a variable was assigned, TensorFlow copies the
variable at each reading: the four readings of a step would each take as much memory again. So the variable is
emptied while a row of its matrix is replaced.
"""

from __future__ import annotations

import tensorflow as tf


def make_history(rows: int, image: tf.Variable) -> tf.Variable:
    """Return a variable of `rows` rows of zeros, each as long as an image [1, H, W, C]."""
    return tf.Variable(tf.zeros([rows, tf.size(image)], image.dtype), shape=[None, None])


def read_rows(history: tf.Variable, rows: int, image: tf.Variable) -> tf.Tensor:
    """Return all rows [rows, H · W · C], in the order of the ring."""
    return tf.ensure_shape(history.read_value(), [rows, image.shape.num_elements()])


def put_row(history: tf.Variable, row: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
    """Replace a row (int32 scalar) by an image; return all rows. Nothing else may read them meanwhile."""
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
    """Set every row to 0: a value that is not finite would spoil products even with the factor 0."""
    columns = tf.raw_ops.VariableShape(input=history.handle)[1]
    with tf.control_dependencies([history.assign(tf.zeros([0, 0], history.dtype))]):
        # `tf.zeros` becomes a constant, which stays in memory.
        blank = tf.raw_ops.Empty(shape=[rows, columns], dtype=history.dtype, init=True)
    history.assign(blank)
