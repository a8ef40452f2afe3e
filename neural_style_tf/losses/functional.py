"""The equations of the paper as pure functions: Gram matrix, content, style, total variation.

Notation, used throughout the package (paper: arXiv 1508.06576, its equation numbers in brackets):

    l       a layer of the network
    N_l     its number of filters (channels)
    M_l     its number of positions, height × width of its feature map
    F_l     the features of the image being optimised   [M_l, N_l]
    P_l     the features of the content picture         [M_l, N_l]
    G_l     the Gram matrix of F_l                      [N_l, N_l]
    A_l     the Gram matrix of the style picture        [N_l, N_l]
    w_l     the weight of a layer
    α, β    the weights of content and style

A feature map [1, H, W, N] is F with its positions laid out in rows and columns. Sums over positions (Gram
matrices, squared content errors, squared differences of neighbours) have functions of their own, so that they
can be computed in tiles. The losses are computed from these sums. bfloat16 is summed in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from neural_style_tf.models.precision import at_least_float32


@tf.custom_gradient
def gram_sum(features: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Return Fᵀ F [N, N], the Gram matrix before division (Eq. 3), of `features` F [1, H, W, N].

    Its gradient is F (D + Dᵀ), where D is the derivative of the loss with respect to the Gram matrix. It is
    written out, because automatic differentiation takes two matrix products for it. It has the type of
    `features`: the convolutions below would round it to that type anyway.
    """
    flat = tf.reshape(features, [-1, features.shape[-1]])
    exact = at_least_float32(flat)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        both = tf.cast(upstream + tf.transpose(upstream), flat.dtype)
        return tf.reshape(tf.matmul(flat, both), tf.shape(features))

    return tf.matmul(exact, exact, transpose_a=True), gradient


@tf.custom_gradient
def moment_sums(
    features: tf.Tensor,
) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]:
    """Return the sum over positions [N] and `gram_sum` [N, N] of `features` [1, H, W, N].

    The gradient is written out as one matrix product and one addition. Automatic differentiation would add
    two feature maps.
    """
    flat = tf.reshape(features, [-1, features.shape[-1]])
    exact = at_least_float32(flat)
    ones = tf.ones([1, tf.shape(flat)[0]], exact.dtype)

    def gradient(of_first: tf.Tensor, of_second: tf.Tensor) -> tf.Tensor:
        both = tf.cast(of_second + tf.transpose(of_second), flat.dtype)
        return tf.reshape(_product_plus(flat, both, tf.cast(of_first, flat.dtype)), tf.shape(features))

    return (tf.matmul(ones, exact)[0], tf.matmul(exact, exact, transpose_a=True)), gradient


def _product_plus(rows: tf.Tensor, matrix: tf.Tensor, more: tf.Tensor) -> tf.Tensor:
    """Return R A + b [M, N] of `rows` R [M, K], `matrix` A [K, N], and `more`, b [M, N] or [N].

    The reshapes keep TensorFlow from fusing product and addition into one operation. In a fused operation
    oneDNN would take A for a constant filter, cache it, and use it again in the next step (see
    `utils.runtime`).
    """
    shape = [1, -1, 1, matrix.shape[-1]]
    return tf.reshape(
        tf.reshape(tf.matmul(rows, matrix), shape) + tf.reshape(more, shape), [-1, matrix.shape[-1]]
    )


def guided_moment_sums(features: tf.Tensor, guides: Sequence[tf.Tensor]) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Return for each guide m the sums Σ m f [N] and Σ m f fᵀ [N, N] over positions with features f [N].

    `features` are [1, H, W, N]. Each of `guides` is [1, H, W, 1], ≥ 0, and gets no gradient. Where a single
    guide is 1 and all others are 0, positions are summed by `moment_sums`, so that hard masks cost little
    more than no mask. Only positions at soft borders are multiplied by their guides.
    """
    firsts, seconds = _guided_moments(features, tf.concat(guides, -1))
    return list(zip(tf.unstack(firsts), tf.unstack(seconds), strict=True))


@tf.custom_gradient
def _guided_moments(
    features: tf.Tensor, guides: tf.Tensor
) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, None]]]:
    """Return `guided_moment_sums`, stacked as [R, N] and [R, N, N], of R `guides` [1, H, W, R].

    The gradient at a position is Σ m (d + (D + Dᵀ) f), summed over the guides. Here d and D are the
    derivatives of the loss with respect to the first and second moments of a guide.
    """
    channels, count = features.shape[-1], guides.shape[-1]
    flat, columns = tf.reshape(features, [-1, channels]), tf.reshape(guides, [-1, count])
    *exclusive, shared, uncovered = places = _positions_by_guide(columns)
    all_shared = tf.size(shared) == tf.shape(columns)[0]

    def rows() -> tuple[list[tf.Tensor], tf.Tensor]:
        soft = tf.cond(all_shared, lambda: flat, lambda: tf.gather(flat, shared))
        return [tf.gather(flat, place) for place in exclusive], soft

    def weighted(soft: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
        # The columns are [m¹ f, m² f, …], so that one matrix product serves all guides.
        return tf.reshape(soft[:, tf.newaxis] * factors[:, :, tf.newaxis], [-1, count * channels])

    hard, soft = rows()
    soft = at_least_float32(soft)
    factors = tf.cast(tf.gather(columns, shared), soft.dtype)
    firsts = tf.matmul(factors, soft, transpose_a=True)
    seconds = tf.reshape(tf.matmul(weighted(soft, factors), soft, transpose_a=True), [count, channels, -1])
    sums = [moment_sums(part) for part in hard]
    firsts += tf.stack([first for first, _ in sums])
    seconds += tf.stack([second for _, second in sums])

    def gradient(of_firsts: tf.Tensor, of_seconds: tf.Tensor) -> tuple[tf.Tensor, None]:
        both = tf.cast(of_seconds + tf.transpose(of_seconds, [0, 2, 1]), flat.dtype)
        first = tf.cast(of_firsts, flat.dtype)
        # Gather again: rows kept from the forward pass would take the memory of a second feature map.
        with tf.control_dependencies([both]):
            hard, soft = rows()
        weights = tf.cast(factors, flat.dtype)
        parts = [_product_plus(part, both[number], first[number]) for number, part in enumerate(hard)]
        at_soft = _product_plus(
            weighted(soft, weights), tf.reshape(both, [-1, channels]), tf.matmul(weights, first)
        )
        parts += [at_soft, tf.zeros([tf.size(uncovered), channels], flat.dtype)]
        everywhere = tf.cond(all_shared, lambda: at_soft, lambda: tf.dynamic_stitch(places, parts))
        return tf.reshape(everywhere, tf.shape(features)), None

    return (firsts, seconds), gradient


def _positions_by_guide(columns: tf.Tensor) -> list[tf.Tensor]:
    """Sort M positions by their guides, `columns` [M, R], into R + 2 lists of indices.

    Lists 0 … R−1 hold the positions where one guide is 1 and all others are 0. List R holds the positions
    with several guides or with 0 < m < 1, list R + 1 those without a guide. If list R would hold more than
    half of all positions, it holds all of them: sorting the features would then take longer than it saves.
    """
    count = columns.shape[-1]
    many = tf.math.count_nonzero(columns, 1, dtype=tf.int32)
    full = tf.cast(tf.argmax(columns, 1), tf.int32)
    kind = tf.where((many == 1) & (tf.reduce_max(columns, 1) == 1), full, count)
    kind = tf.where(many == 0, count + 1, kind)
    soft = tf.math.count_nonzero(kind == count, dtype=tf.int32)
    kind = tf.where(2 * soft > tf.size(kind), count, kind)
    return tf.dynamic_partition(tf.range(tf.shape(columns)[0]), kind, count + 2)


@tf.custom_gradient
def fan_out(tensor: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Return `tensor` for use in several places, with its gradients added in the same order every time.

    TensorFlow's graph optimiser merges neighbouring sums into one and, where memory is short, adds the terms
    in any order. Two runs with the same flags could then differ in their last bits. A sum of two terms has
    the same bits in either order. The shape check keeps this sum from being merged with its neighbours.
    """
    return tf.identity(tensor), lambda upstream: tf.ensure_shape(upstream, tensor.shape)


def normalize_gram(gram: tf.Tensor, positions: tf.Tensor, normalization: str) -> tf.Tensor:
    """Divide `gram` [N, N], from `gram_sum`, by M_l N_l or by M_l, which is the number of `positions`.

    `normalization` is `elements` for M_l N_l (as in the original repository), or `positions` for M_l.

    Differs from Gatys et al.: G and A are each divided by their own M_l before they are compared; the paper
    divides the difference. Both are equal for pictures of one size; only this is right for other sizes.
    """
    return gram / (positions * gram.shape[-1] if normalization == "elements" else positions)


def style_distance(gram: tf.Tensor, target: tf.Tensor, form: str) -> tf.Tensor:
    """Return E_l, the distance of two normalised Gram matrices [N, N] (Eq. 4), a scalar ≥ 0.

    Args:
        gram: G_l, of the image.
        target: A_l, of the style picture.
        form: `mean` is Σ(G−A)²/N² (the original repository). `gatys` is Σ(G−A)²/(4N²): with Gram matrices
            divided by M_l, this is the paper's 1/(4N²M²) Σ(G−A)². `relative` is Σ(G−A)²/ΣA².
    """
    if form == "relative":
        return tf.reduce_sum(tf.square(gram - target)) / energy(target)
    mean = tf.reduce_mean(tf.square(gram - target))
    return mean / 4 if form == "gatys" else mean


def content_error(features: tf.Tensor, target: tf.Tensor, guide: tf.Tensor | None = None) -> tf.Tensor:
    """Return Σ m (F−P)², a scalar ≥ 0, of `features` F and `target` P, both [1, H, W, N].

    `guide` has the weight m of each position [1, H, W, 1]; None means 1 everywhere.
    """
    squares = tf.square(at_least_float32(features) - at_least_float32(target))
    return tf.reduce_sum(squares if guide is None else tf.cast(guide, squares.dtype) * squares)


def content_distance(
    error: tf.Tensor, count: tf.Tensor, form: str, *, squares: tf.Tensor | None = None
) -> tf.Tensor:
    """Return L_content of a layer (Eq. 1), a scalar ≥ 0.

    Args:
        error: Σ (F−P)², from `content_error`.
        count: M_l N_l, the number of features.
        form: `gatys` is ½ Σ (F−P)². `mean` is Σ (F−P)² / (M_l N_l) (the original repository). `relative` is
            Σ (F−P)² / Σ P².
        squares: Σ P², which only `relative` needs.
    """
    if form == "relative":
        return error / at_least_tiny(squares, count)
    return error / 2 if form == "gatys" else error / count


def energy_sum(target: tf.Tensor) -> tf.Tensor:
    """Return the sum of the squares of `target`; bfloat16 is summed in float32."""
    return tf.reduce_sum(tf.square(at_least_float32(target)))


def energy(target: tf.Tensor) -> tf.Tensor:
    """Return the sum of the squares of `target`, raised above 0: the divisor of a relative loss.

    Differs from Gatys et al.: relative to its own target a loss means the same for every layer, network,
    picture and size, so that one weight serves them all.
    """
    total = energy_sum(target)
    return at_least_tiny(total, tf.cast(tf.size(target, tf.int64), total.dtype))


def at_least_tiny(squares: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Return `squares`, a sum of `count` squares, raised to at least 1e-12 `count`: a safe divisor."""
    return tf.maximum(squares, tf.constant(1e-12, squares.dtype) * count)


@tf.custom_gradient
def neighbour_differences(image: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
    """Return the sums of dy² and of dx² of `image` [1, H, W, 3], two scalars.

    Here dy and dx are the differences of vertical and of horizontal neighbours. A sum without neighbours is
    0. The gradient is written out, because TensorFlow's gradient of indexing is several times slower.
    """
    down = image[:, 1:, :, :] - image[:, :-1, :, :]
    right = image[:, :, 1:, :] - image[:, :, :-1, :]

    def gradient(of_down: tf.Tensor, of_right: tf.Tensor) -> tf.Tensor:
        rows = tf.pad(down, [[0, 0], [1, 1], [0, 0], [0, 0]])
        columns = tf.pad(right, [[0, 0], [0, 0], [1, 1], [0, 0]])
        vertical = rows[:, :-1, :, :] - rows[:, 1:, :, :]
        horizontal = columns[:, :, :-1, :] - columns[:, :, 1:, :]
        return 2 * (of_down * vertical + of_right * horizontal)

    return (tf.reduce_sum(tf.square(down)), tf.reduce_sum(tf.square(right))), gradient
