"""Winograd's F(4×4, 3×3): 3×3 convolutions with a quarter of the multiplications.

The result is cut into tiles of 4×4 numbers, each of which depends on 6×6 inputs. For a tile with inputs d
[6, 6] and a kernel g [3, 3], the results Y [4, 4] are

    Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A

Here ⊙ multiplies element by element: it takes 36 multiplications where the definition of a convolution takes
144. Summed over the input channels, it becomes 36 matrix products, whose results for a tile are p [6, 6];
then Y = Aᵀ p A. The constant matrices A, B and G evaluate polynomials at six points and interpolate their
product.

The gradient applies the adjoints of these steps in reverse, with the same transformed kernels. A tile y
[4, 4] of the gradient with respect to the results becomes A y Aᵀ [6, 6]. After the 36 matrix products, p
becomes B p Bᵀ, the gradient with respect to the inputs d. In shapes, T is the number of tiles and N the
number of channels.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, sections 4.1 and 4.3.

XLA compiles the additions before and after the products into two passes through memory. As separate
operations of TensorFlow they would be dozens.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.polynomial import polynomial

from neural_style_tf.errors import UserError
from neural_style_tf.models.precision import at_least_float32, compute_dtype, has_amx

TILE, WINDOW = 4, 6
POINTS = (0, 5 / 8, -5 / 8, 3 / 2, -3 / 2)
"""The points at which polynomials are evaluated; the sixth is ∞. In float32, these cause half the rounding
error of the usual points 0, ±1 and ±2."""

Matrix = tuple[tuple[float, ...], ...]
Pieces = list[tf.Tensor]
"""Tensors of one shape; number j has element j of every window along an axis (see `_windows`)."""

WORTH_COMPILING = {"float32": 130_000, "bfloat16": 700_000}
"""Number of pixels of a result from which `balanced` gains by Winograd's method.

From there on it gains more than its larger graph takes to trace, and about as much as XLA takes to compile it
(once for each size and each shape of tile, unless the code is kept). Neither kept code nor the number of
iterations counts, so that a run that is repeated or extended has the same bits."""


def select_convolution(convolution: str, precision: str, pixels: int) -> str:
    """Return `direct` or `winograd` for the settings `--convolution` and `--precision`.

    `auto` chooses by the hardware and by the number of `pixels` of the result.

    Raises:
        UserError: Winograd's method is required, and XLA is missing.
    """
    dtype = compute_dtype(precision)
    if convolution == "direct" or (convolution != "winograd" and pixels < WORTH_COMPILING[dtype]):
        return "direct"
    if convolution == "auto":
        # On GPUs, cuDNN chooses its own method. Intel's matrix units multiply faster than memory delivers the
        # numbers, so fewer multiplications save no time.
        direct_is_faster = tf.config.get_visible_devices("GPU") or (dtype == "bfloat16" and has_amx())
        return "direct" if direct_is_faster or not _xla_compiles() else "winograd"
    if not _xla_compiles():
        raise UserError(
            f"--convolution={convolution} needs XLA, which this build of TensorFlow lacks: use "
            "--convolution=direct; a run that has begun then needs another --output_dir"
        )
    return "winograd"


@functools.cache
def _xla_compiles() -> bool:
    """Return whether this build of TensorFlow has XLA for the processor."""
    try:
        tf.function(tf.negative, autograph=False, jit_compile=True)(tf.zeros([]))
    except tf.errors.OpError:
        return False
    return True


class _Matrices(NamedTuple):
    """The matrices Aᵀ [4, 6], G [6, 3] and Bᵀ [6, 6] of the method, and A and B of its gradient."""

    a_transposed: Matrix
    g: Matrix
    b_transposed: Matrix
    a: Matrix
    b: Matrix


@functools.cache
def _matrices() -> _Matrices:
    """Compute the matrices by Toom and Cook's rule: evaluate two polynomials, multiply, interpolate."""
    a, g, b = np.zeros((WINDOW, TILE)), np.zeros((WINDOW, 3)), np.zeros((WINDOW, WINDOW))
    for index, point in enumerate(POINTS):
        others = POINTS[:index] + POINTS[index + 1 :]
        a[index] = [point**power for power in range(TILE)]
        g[index] = [point**power / np.prod([point - other for other in others]) for power in range(3)]
        b[:-1, index] = polynomial.polyfromroots(others)
    a[-1, -1] = g[-1, -1] = 1
    b[:, -1] = polynomial.polyfromroots(POINTS)
    return _Matrices(*(tuple(map(tuple, matrix.tolist())) for matrix in (a.T, g, b.T, a, b)))


def transform_kernel(kernel: np.ndarray) -> np.ndarray:
    """Return G g Gᵀ for the kernel g of each pair of channels: [3, 3, N_in, N_out] → [36, N_in, N_out]."""
    # As one matrix product it takes a twelfth of the time. Row (j, i), column (k, l): G_ik G_jl.
    both = np.einsum("ik,jl->jikl", *[_matrices().g] * 2).reshape(WINDOW**2, 9)
    return (both @ kernel.astype(np.float64).reshape(9, -1)).reshape(-1, *kernel.shape[2:])


def convolve(features: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, *, border: int) -> tf.Tensor:
    """Convolve `features` [1, H, W, N_in] with a 3×3 kernel and add `bias` [N_out].

    `kernel` [36, N_in, N_out] comes from `transform_kernel`. Products have its type; sums are in float32 or
    better. Neither kernel nor bias gets a gradient. `border` is the number of rows and columns of zeros to
    add on each side: 1 for a result as large as the input, 0 for a result that is 2 smaller.
    """

    @tf.custom_gradient
    def apply(features: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        size, kinds = tf.shape(features)[1:3], (features.dtype, kernel.dtype)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            # If it is the gradient of cutting out a tile, it has lost its static shape.
            upstream = tf.ensure_shape(upstream, [1, None, None, kernel.shape[-1]])
            products = tf.matmul(_split_results(upstream, kinds[1]), kernel, transpose_b=True)
            return _join_inputs(products, size, kinds[0], border=border)

        products = tf.matmul(_split_inputs(features, kinds[1], border=border), kernel)
        return _join_results(products, size + 2 * border - 2, bias, kinds[0]), gradient

    return apply(features)


@functools.cache
def trace(n_in: int, n_out: int, dtype: str, border: int) -> None:
    """Trace `convolve` and its gradient for so many channels, before anything else of a run is traced.

    TensorFlow numbers functions and values in one sequence, and XLA keeps its code by the names of functions:
    a run finds the code of an earlier one only if both have made as many values before.
    """

    def gradient(features: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(features)
            result = convolve(features, kernel, bias, border=border)
        return tape.gradient(result, features)

    shapes = [1, None, None, n_in], [WINDOW**2, n_in, n_out], [n_out]
    specs = [tf.TensorSpec(shape, dtype) for shape in shapes]
    tf.function(gradient, autograph=False).get_concrete_function(*specs)


_compiled = functools.partial(tf.function, autograph=False, jit_compile=True)


@_compiled
def _split_inputs(features: tf.Tensor, dtype: tf.DType, *, border: int) -> tf.Tensor:
    """Return Bᵀ d B for the inputs d of every tile of `features`: [1, H, W, N] → [36, T, N]."""
    tiles = _tile_counts(tf.shape(features)[1:3] + 2 * border - 2)
    image = _pad_to(at_least_float32(features[0]), TILE * (tiles + 1), before=border)
    return tf.cast(_split_tiles(image, _matrices().b_transposed, overlap=WINDOW - TILE), dtype)


@_compiled
def _split_results(upstream: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Return A y Aᵀ for every tile y of `upstream`: [1, H, W, N] → [36, T, N].

    This is the adjoint of `_join_results`.
    """
    image = _pad_to(at_least_float32(upstream[0]), TILE * _tile_counts(tf.shape(upstream)[1:3]))
    return tf.cast(_split_tiles(image, _matrices().a, overlap=0), dtype)


@_compiled
def _join_results(products: tf.Tensor, size: tf.Tensor, bias: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Join the tiles Aᵀ p A of all `products` p, and add `bias`: [36, T, N] → [1, H, W, N]."""
    image = _join_tiles(products, _tile_counts(size), _matrices().a_transposed)[
        tf.newaxis, : size[0], : size[1]
    ]
    return tf.cast(image + at_least_float32(bias), dtype)


@_compiled
def _join_inputs(products: tf.Tensor, size: tf.Tensor, dtype: tf.DType, *, border: int) -> tf.Tensor:
    """Add up B p Bᵀ of all `products` p where tiles overlap: [36, T, N] → [1, H, W, N].

    This is the adjoint of `_split_inputs`.
    """
    image = _join_tiles(products, _tile_counts(size + 2 * border - 2), _matrices().b)
    return tf.cast(image[tf.newaxis, border : border + size[0], border : border + size[1]], dtype)


def _tile_counts(size: tf.Tensor) -> tf.Tensor:
    return (size + TILE - 1) // TILE


def _pad_to(image: tf.Tensor, size: tf.Tensor, before: int = 0) -> tf.Tensor:
    """Pad `image` [H, W, N] with zeros to `size` (H, W), `before` of them above and left."""
    after = size - before - tf.shape(image)[:2]
    return tf.pad(image, [[before, after[0]], [before, after[1]], [0, 0]])


def _combine(matrix: Matrix, pieces: Pieces) -> Pieces:
    """Multiply `matrix` by the vector of `pieces`: return Σ_j matrix[i, j] pieces[j] for every row i."""
    return [
        functools.reduce(operator.add, [f * piece for f, piece in zip(row, pieces, strict=True) if f])
        for row in matrix
    ]


def _split_tiles(image: tf.Tensor, matrix: Matrix, *, overlap: int) -> tf.Tensor:
    """Return M d Mᵀ for every tile d of `image`, where M is `matrix`: [H, W, N] → [36, T, N].

    Neighbouring tiles share `overlap` rows or columns.
    """
    rows = tf.stack(_combine(matrix, _windows(image, 0, overlap)))
    both = tf.stack(_combine(matrix, _windows(rows, 2, overlap)))
    return tf.reshape(both, [WINDOW**2, -1, image.shape[-1]])


def _join_tiles(products: tf.Tensor, tiles: tf.Tensor, matrix: Matrix) -> tf.Tensor:
    """Put together M p Mᵀ of all `products` p, where M is `matrix`: [36, T, N] → [H, W, N]."""
    both = tf.reshape(at_least_float32(products), [WINDOW, WINDOW, tiles[0], tiles[1], products.shape[-1]])
    rows = _lay(_combine(matrix, tf.unstack(both)), 2)
    return _lay(_combine(matrix, tf.unstack(rows)), 0)


def _windows(image: tf.Tensor, axis: int, overlap: int) -> Pieces:
    """Return 4 + `overlap` tensors, of which number j has element j of every window along `axis`.

    Windows are 4 + `overlap` long, and begin at every fourth element.
    """
    shape = tf.unstack(tf.shape(image))
    blocks = tf.unstack(tf.reshape(image, [*shape[:axis], -1, TILE, *shape[axis + 1 :]]), axis=axis + 1)
    if not overlap:
        return blocks
    count = tf.shape(blocks[0])[axis] - 1
    return [_cut(block, axis, 0, count) for block in blocks] + [
        _cut(block, axis, 1, count) for block in blocks[:overlap]
    ]


def _lay(pieces: Pieces, axis: int) -> tf.Tensor:
    """Put windows together and add them up where they overlap, the adjoint of `_windows`."""
    blocks = pieces[:TILE]
    if len(pieces) > TILE:
        blocks = [_pad(block, axis, (0, 1)) for block in blocks]
        for index, piece in enumerate(pieces[TILE:]):
            blocks[index] += _pad(piece, axis, (1, 0))
    shape = tf.unstack(tf.shape(blocks[0]))
    return tf.reshape(tf.stack(blocks, axis + 1), [*shape[:axis], -1, *shape[axis + 1 :]])


def _cut(block: tf.Tensor, axis: int, start: int, count: tf.Tensor) -> tf.Tensor:
    return block[(slice(None),) * axis + (slice(start, start + count),)]


def _pad(piece: tf.Tensor, axis: int, sides: tuple[int, int]) -> tf.Tensor:
    return tf.pad(piece, [sides if index == axis else (0, 0) for index in range(piece.shape.rank)])
