"""Ring buffer of the last images, or gradients, of L-BFGS, as the rows of a matrix."""

from __future__ import annotations

import tensorflow as tf


class History(tf.Module):
    """A ring of images in one variable, which is read, and of which a row is replaced, without a copy.

    A variable of which a slice was once assigned gives out copies ever after: each of the four readings of
    a step would take as much memory again. So the variable is emptied while a row of its matrix is replaced.

    Args:
        rows: How many it holds, zeros to begin with.
        image: What they are like, [1, H, W, C]; of any size if its variable is.
        name: Of the module.
    """

    def __init__(self, rows: int, image: tf.Variable, name: str) -> None:
        super().__init__(name=name)
        self._rows, self._columns = rows, image.shape.num_elements()
        self._nothing = tf.zeros([0, 0], image.dtype)
        self.matrix = tf.Variable(tf.zeros([rows, tf.size(image)], image.dtype), shape=[None, None])

    def read(self) -> tf.Tensor:
        """Return all rows, [rows, H · W · C], in no order."""
        return tf.ensure_shape(self.matrix.read_value(), [self._rows, self._columns])

    def put(self, row: tf.Tensor, image: tf.Tensor) -> tf.Tensor:
        """Replace a row (int32 scalar) by an image; return what `read` then does.

        Nothing else may read it meanwhile.
        """
        matrix = self.read()
        with tf.control_dependencies([matrix]):
            emptied = self.matrix.assign(self._nothing)
        with tf.control_dependencies([emptied]):
            matrix = tf.raw_ops.TensorStridedSliceUpdate(
                input=matrix,
                begin=tf.stack([row, 0]),
                end=tf.stack([row + 1, tf.size(image)]),
                strides=[1, 1],
                value=tf.reshape(image, [1, -1]),
            )
        self.matrix.assign(matrix)
        return matrix

    def clear(self, image: tf.Variable | None = None) -> None:
        """Make every row 0 again; what is not finite would spoil products even where it counts 0 times.

        Args:
            image: What rows are like from now on; default: what they have been like.
        """
        shape = tf.raw_ops.VariableShape(input=self.matrix.handle)
        columns = shape[1] if image is None else tf.size(image)
        with tf.control_dependencies([self.matrix.assign(self._nothing)]):
            # `tf.zeros` becomes a constant, which stays in memory.
            blank = tf.raw_ops.Empty(shape=[self._rows, columns], dtype=self.matrix.dtype, init=True)
        self.matrix.assign(blank)
