"""Winograd's F(4×4, 3×3): 3×3 convolutions with a quarter of the multiplications.

The result is cut into tiles of 4×4 numbers, each of which depends on 6×6 inputs. For a tile with inputs d
[6, 6] and a kernel g [3, 3], the results Y [4, 4] are

    Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A

Here ⊙ multiplies element by element: it takes 36 multiplications where the definition of a convolution takes
144. Summed over the input channels, it becomes 36 matrix products. The constant matrices A, B and G evaluate
polynomials at six points and interpolate their product.

With d written as a vector of 36 numbers, Bᵀ d B is (Bᵀ ⊗ Bᵀ) d: one matrix product for all tiles and
channels. Likewise for A. A convolution is then a gather and three matrix products.

The gradient with respect to the inputs is a convolution with the kernel turned by 180°, its channels swapped.
A turned kernel g' is the polynomial g with its coefficients reversed: g'(p) = p² g(1/p). The points come in
pairs p and 1/p, so the values of g' are those of g at the partners, times constants. The gradient therefore
uses the same transformed kernel, with other matrices in the place of A and B.

In shapes, T is the number of tiles and N the number of channels.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, sections 4.1 and 4.3.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from numpy.polynomial import polynomial

from neural_style_tf.models.precision import at_least_float32, compute_dtype

TILE, WINDOW = 4, 6
POINTS = (0, 2 / 3, -2 / 3, 3 / 2, -3 / 2)
"""The points at which polynomials are evaluated; the sixth is ∞. In float32, these cause half the rounding
error of the usual points 0, ±1 and ±2."""
PARTNERS = (5, 3, 4, 1, 2, 0)
"""For each point p, the index of 1/p."""

WORTH_IT = 30_000
"""Number of pixels of a picture from which Winograd's method is faster in float32, also if all coarser
scales of a run use it."""


def select_convolution(convolution: str, precision: str, pixels: int) -> str:
    """Return `direct` or `winograd` for the settings `--convolution` and `--precision`.

    `auto` chooses by the hardware, the precision, and the number of `pixels` of the result.
    """
    if convolution in ("direct", "winograd"):
        return convolution
    if pixels < WORTH_IT:
        return "direct"
    if convolution == "large":
        return "winograd"
    # On GPUs, cuDNN chooses its own method. In bfloat16, sums in float32 take longer than the products.
    direct_is_faster = tf.config.get_visible_devices("GPU") or compute_dtype(precision) != "float32"
    return "direct" if direct_is_faster else "winograd"


@functools.cache
def _matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Aᵀ [4, 6], G [6, 3] and Bᵀ [6, 6].

    Toom and Cook's rule: evaluate two polynomials, multiply, interpolate.
    """
    a, g, b = np.zeros((WINDOW, TILE)), np.zeros((WINDOW, 3)), np.zeros((WINDOW, WINDOW))
    for index, point in enumerate(POINTS):
        others = POINTS[:index] + POINTS[index + 1 :]
        a[index] = [point**power for power in range(TILE)]
        g[index] = [point**power / np.prod([point - other for other in others]) for power in range(3)]
        b[:-1, index] = polynomial.polyfromroots(others)
    a[-1, -1] = g[-1, -1] = 1
    b[:, -1] = polynomial.polyfromroots(POINTS)
    return a.T, g, b.T


class Sums(NamedTuple):
    """The matrices before and after the products: Bᵀ ⊗ Bᵀ [36, 36] and Aᵀ ⊗ Aᵀ [16, 36]."""

    inputs: np.ndarray
    results: np.ndarray


@functools.cache
def sums(*, turned: bool = False) -> Sums:
    """Return the matrices for a transformed kernel, or for the same kernel `turned` by 180°."""
    a_transposed, g, b_transposed = _matrices()
    if turned:
        partners = list(PARTNERS)
        # Row i of the reversed G is a multiple of its partner's row.
        factors = np.sum(g[:, ::-1] * g[partners], 1) / np.sum(g[partners] ** 2, 1)
        a_transposed = a_transposed[:, partners]
        b_transposed = (factors[:, np.newaxis] * b_transposed)[partners]
    return Sums(np.kron(b_transposed, b_transposed), np.kron(a_transposed, a_transposed))


def transform_kernel(kernel: np.ndarray) -> np.ndarray:
    """Return G g Gᵀ for the kernel g of each pair of channels: [3, 3, N_in, N_out] → [36, N_in, N_out]."""
    g = _matrices()[1]
    products = np.kron(g, g).astype(kernel.dtype) @ kernel.reshape(9, -1)
    return products.reshape(-1, *kernel.shape[2:])


def convolve(features: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor, *, padding: str) -> tf.Tensor:
    """Convolve `features` [1, H, W, N_in] with a 3×3 kernel and add `bias`: [1, H, W, N_out].

    Neither kernel nor bias gets a gradient.

    Args:
        features: [1, H, W, N_in].
        kernel: [36, N_in, N_out], from `transform_kernel`. Products have its type; sums are in float32 or
            better.
        bias: [N_out].
        padding: What lies beyond the features: `zero`, or `edge`, which repeats the outermost positions.
    """
    edge = padding == "edge"

    @tf.custom_gradient
    def apply(features: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            # If it is the gradient of cutting out a tile, it has lost its static shape.
            upstream = tf.ensure_shape(upstream, [1, None, None, kernel.shape[-1]])
            turned = functools.partial(_correlate, upstream, kernel, turned=True)
            return fold_edges(turned(border=2)) if edge else turned(border=1)

        result = _correlate(features, kernel, border=1, edge=edge)
        return tf.nn.bias_add(result, tf.cast(bias, result.dtype)), gradient

    return apply(features)


def fold_edges(upstream: tf.Tensor) -> tf.Tensor:
    """Add the gradient at each repeated edge to the positions that it repeats, and cut it off.

    This is the adjoint of repeating the outermost positions: [1, H + 2, W + 2, N] → [1, H, W, N].
    """
    sides = [[0, 0], [1, 1], [1, 1], [0, 0]]
    return tf.raw_ops.MirrorPadGrad(input=upstream, paddings=sides, mode="SYMMETRIC")


@functools.partial(tf.function, autograph=False)
def _correlate(
    features: tf.Tensor,
    kernel: tf.Tensor,
    *,
    border: int,
    edge: bool = False,
    turned: bool = False,
) -> tf.Tensor:
    """Return the 3×3 correlation of `features` [1, H, W, N], with `border` rows and columns on each side.

    The border has zeros, or repeats the outermost positions if `edge` is True. If `turned` is True, the
    kernel is turned by 180°, and its input and output channels are swapped.

    The result is [1, H + 2 border − 2, W + 2 border − 2, M].
    """
    matrices, size = sums(turned=turned), tf.shape(features)[1:3] + 2 * border - 2
    tiles = (size + TILE - 1) // TILE
    if not edge:
        features = tf.pad(features, [[0, 0], [border, border], [border, border], [0, 0]])
    inputs = _gather_tiles(features[0], tiles, before=border if edge else 0)
    products = tf.matmul(tf.cast(_mix(matrices.inputs, inputs), kernel.dtype), kernel, transpose_b=turned)
    results = tf.cast(_mix(matrices.results, products), features.dtype)
    channels = results.shape[-1]
    image = tf.reshape(results, [TILE, TILE, tiles[0], tiles[1], channels])
    image = tf.transpose(image, [2, 0, 3, 1, 4])
    image = tf.reshape(image, [1, TILE * tiles[0], TILE * tiles[1], channels])
    return image[:, : size[0], : size[1]]


def _gather_tiles(image: tf.Tensor, tiles: tf.Tensor, *, before: int) -> tf.Tensor:
    """Return the 6×6 inputs of every tile of `image`: [H, W, N] → [36, T, N].

    The first tile begins `before` rows and columns outside of the image. Positions outside are taken from the
    nearest edge.
    """
    rows, columns = (
        tf.clip_by_value(tf.range(WINDOW)[:, tf.newaxis] + TILE * tf.range(count) - before, 0, side - 1)
        for count, side in zip(tf.unstack(tiles), tf.unstack(tf.shape(image)[:2]), strict=True)
    )
    positions = rows[:, tf.newaxis, :, tf.newaxis] * tf.shape(image)[1] + columns[:, tf.newaxis]
    channels = image.shape[-1]
    return tf.gather(tf.reshape(image, [-1, channels]), tf.reshape(positions, [WINDOW**2, -1]))


def _mix(matrix: np.ndarray, planes: tf.Tensor) -> tf.Tensor:
    """Multiply `matrix` [R, 36] by the 36 numbers of each tile and channel: [36, T, N] → [R, T, N]."""
    planes = at_least_float32(planes)
    mixed = tf.matmul(tf.constant(matrix, planes.dtype), tf.reshape(planes, [WINDOW**2, -1]))
    return tf.reshape(mixed, [len(matrix), -1, planes.shape[-1]])
