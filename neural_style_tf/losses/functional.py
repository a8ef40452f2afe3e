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

A feature map [1, H, W, N] is F with its positions still laid out in rows and columns. Everything that
adds over positions (Gram sums, squared content errors, squared differences of neighbours) has its own
function, separate from what is computed from the sum, so that a picture can be evaluated in tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from neural_style_tf.models.precision import at_least_float32


@tf.custom_gradient
def gram_sum(features: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """Return Σ_k F_ik F_jk, the unnormalised Gram matrix (Eq. 3).

    Its gradient F (D + Dᵀ) is written out, since automatic differentiation takes two products for it. It
    is computed in the type of the features, which the convolutions below would round it to.

    Args:
        features: [1, H, W, N]; bfloat16 is summed in float32.

    Returns:
        [N, N], symmetric; unchanged when positions are permuted; adds over positions.
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
    """Return Σ_k F_ik and `gram_sum`, the raw first and second moments.

    Their gradient is one product with an addition to it, instead of a sum of two maps.

    Args:
        features: [1, H, W, N]; bfloat16 is summed in float32.

    Returns:
        [N] and [N, N]; both add over positions.
    """
    flat = tf.reshape(features, [-1, features.shape[-1]])
    exact = at_least_float32(flat)
    ones = tf.ones([1, tf.shape(flat)[0]], exact.dtype)

    def gradient(of_first: tf.Tensor, of_second: tf.Tensor) -> tf.Tensor:
        both = tf.cast(of_second + tf.transpose(of_second), flat.dtype)
        return tf.reshape(_product_plus(flat, both, tf.cast(of_first, flat.dtype)), tf.shape(features))

    return (tf.matmul(ones, exact)[0], tf.matmul(exact, exact, transpose_a=True)), gradient


def _product_plus(rows: tf.Tensor, matrix: tf.Tensor, more: tf.Tensor) -> tf.Tensor:
    """Return R A + b [M, N] for R [M, K], A [K, N], and b [M, N] or [N].

    The shapes between keep TensorFlow from fusing product and addition into a layer, whose "filter", A,
    oneDNN would keep from one step to the next (see `utils.runtime`).
    """
    shape = [1, -1, 1, matrix.shape[-1]]
    return tf.reshape(
        tf.reshape(tf.matmul(rows, matrix), shape) + tf.reshape(more, shape), [-1, matrix.shape[-1]]
    )


def guided_moment_sums(features: tf.Tensor, guides: Sequence[tf.Tensor]) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Return Σ_k m_k F_ik and Σ_k m_k F_ik F_jk, raw moments weighted by a guide m, for each of several m.

    Positions that one guide counts in full, and no other counts, are summed as `moment_sums` sums a picture:
    hard masks cost little more than none. At soft borders each position counts for several guides.

    Args:
        features: [1, H, W, N]; bfloat16 is summed in float32.
        guides: Each m [1, H, W, 1], ≥ 0; they have no gradient.

    Returns:
        For each guide [N] and [N, N]; both add over positions.
    """
    firsts, seconds = _guided_moments(features, tf.concat(guides, -1))
    return list(zip(tf.unstack(firsts), tf.unstack(seconds), strict=True))


@tf.custom_gradient
def _guided_moments(
    features: tf.Tensor, guides: tf.Tensor
) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, None]]]:
    """Return `guided_moment_sums` [R, N] and [R, N, N] for guides [1, H, W, R].

    The gradient has a row for each position, the sum over the guides of m (d + D f): d is the derivative by
    the first moments, D that by the second, and its transpose.
    """
    channels, count = features.shape[-1], guides.shape[-1]
    flat, columns = tf.reshape(features, [-1, channels]), tf.reshape(guides, [-1, count])
    *alone, shared, nowhere = places = _places_by_guide(columns)
    all_shared = tf.size(shared) == tf.shape(columns)[0]

    def rows() -> tuple[list[tf.Tensor], tf.Tensor]:
        soft = tf.cond(all_shared, lambda: flat, lambda: tf.gather(flat, shared))
        return [tf.gather(flat, place) for place in alone], soft

    def weighted(soft: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
        # [m¹ f, m² f, …], so that the products with all guides are one.
        return tf.reshape(soft[:, tf.newaxis] * factors[:, :, tf.newaxis], [-1, count * channels])

    of_one, soft = rows()
    soft = at_least_float32(soft)
    factors = tf.cast(tf.gather(columns, shared), soft.dtype)
    firsts = tf.matmul(factors, soft, transpose_a=True)
    seconds = tf.reshape(tf.matmul(weighted(soft, factors), soft, transpose_a=True), [count, channels, -1])
    sums = [moment_sums(part) for part in of_one]
    firsts += tf.stack([first for first, _ in sums])
    seconds += tf.stack([second for _, second in sums])

    def gradient(of_firsts: tf.Tensor, of_seconds: tf.Tensor) -> tuple[tf.Tensor, None]:
        both = tf.cast(of_seconds + tf.transpose(of_seconds, [0, 2, 1]), flat.dtype)
        first = tf.cast(of_firsts, flat.dtype)
        # Taken anew, since until here they would need the memory of a second map.
        with tf.control_dependencies([both]):
            of_one, soft = rows()
        near = tf.cast(factors, flat.dtype)
        changes = [_product_plus(part, both[number], first[number]) for number, part in enumerate(of_one)]
        of_soft = _product_plus(
            weighted(soft, near), tf.reshape(both, [-1, channels]), tf.matmul(near, first)
        )
        changes += [of_soft, tf.zeros([tf.size(nowhere), channels], flat.dtype)]
        change = tf.cond(all_shared, lambda: of_soft, lambda: tf.dynamic_stitch(places, changes))
        return tf.reshape(change, tf.shape(features)), None

    return (firsts, seconds), gradient


def _places_by_guide(columns: tf.Tensor) -> list[tf.Tensor]:
    """Return the numbers of the positions of guides [M, R], sorted into R + 2 lists.

    The first R are those that one guide alone counts, and in full; then come those that several count, or one
    in part; then those that none counts. Where most are of the second kind all are taken for such, since
    sorting the features takes longer than it saves.
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
    """Return `tensor`, for several uses whose gradients must be summed in one order every time.

    TensorFlow's graph optimiser joins neighbouring sums into one, and where memory is short lets its
    summands come in any order, so that the same flags would not give the same bits. A sum of two has
    but one value; the shape check keeps this one apart from its neighbours.
    """
    return tf.identity(tensor), lambda upstream: tf.ensure_shape(upstream, tensor.shape)


def normalize_gram(gram: tf.Tensor, positions: tf.Tensor, normalization: str) -> tf.Tensor:
    """Divide a Gram sum by what makes pictures of different sizes comparable.

    Differs from Gatys et al.: G and A are each divided by their own M_l before they are compared, where
    the paper divides the difference; the same when both pictures have one size, and right when not.

    Args:
        gram: [N, N], from `gram_sum`.
        positions: M_l, a scalar of the same type.
        normalization: `positions` divides by M_l; `elements` by M_l N_l (the original repository).

    Returns:
        [N, N].
    """
    return gram / (positions * gram.shape[-1] if normalization == "elements" else positions)


def style_distance(gram: tf.Tensor, target: tf.Tensor, form: str) -> tf.Tensor:
    """Return E_l, how far the Gram matrix of the image is from that of the style picture (Eq. 4).

    Args:
        gram: G_l [N, N], normalised.
        target: A_l [N, N], normalised likewise.
        form: `mean` is Σ(G−A)²/N² (the original repository); `gatys` is Σ(G−A)²/(4N²), which with
            Gram matrices divided by M_l is the paper's 1/(4N²M²) Σ(G−A)²; `relative` is Σ(G−A)²/ΣA².

    Returns:
        A scalar ≥ 0.
    """
    if form == "relative":
        return tf.reduce_sum(tf.square(gram - target)) / energy(target)
    mean = tf.reduce_mean(tf.square(gram - target))
    return mean / 4 if form == "gatys" else mean


def content_error(features: tf.Tensor, target: tf.Tensor, guide: tf.Tensor | None = None) -> tf.Tensor:
    """Return Σ m (F−P)², the part of the content loss that adds over positions.

    Args:
        features: F_l [1, H, W, N].
        target: P_l [1, H, W, N].
        guide: m [1, H, W, 1], the weight of each position; None for 1.

    Returns:
        A scalar ≥ 0.
    """
    squares = tf.square(at_least_float32(features) - at_least_float32(target))
    return tf.reduce_sum(squares if guide is None else tf.cast(guide, squares.dtype) * squares)


def content_distance(
    error: tf.Tensor, count: tf.Tensor, form: str, *, squares: tf.Tensor | None = None
) -> tf.Tensor:
    """Return L_content of a layer from its squared error (Eq. 1).

    Args:
        error: Σ (F−P)².
        count: M_l N_l, the number of features.
        form: `gatys` is ½ Σ (F−P)²; `mean` the mean of squares (the original repository); `relative` is
            Σ (F−P)² / Σ P².
        squares: Σ P², for `relative`.

    Returns:
        A scalar ≥ 0.
    """
    if form == "relative":
        return error / at_least_tiny(squares, count)
    return error / 2 if form == "gatys" else error / count


def energy_sum(target: tf.Tensor) -> tf.Tensor:
    """Return Σ target², which adds over positions."""
    return tf.reduce_sum(tf.square(at_least_float32(target)))


def energy(target: tf.Tensor) -> tf.Tensor:
    """Return Σ target², what a relative loss is divided by, and never 0.

    Differs from Gatys et al.: a loss relative to its own target means the same for every layer, network,
    picture and size, so that one weight serves them all.
    """
    total = energy_sum(target)
    return at_least_tiny(total, tf.cast(tf.size(target, tf.int64), total.dtype))


def at_least_tiny(squares: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Return a sum of `count` squares that something may be divided by."""
    return tf.maximum(squares, tf.constant(1e-12, squares.dtype) * count)


@tf.custom_gradient
def neighbour_differences(image: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable]:
    """Return Σ dy² and Σ dx², the parts of the total variation that add over positions.

    Their gradient is written out: that of indexing is several times slower.

    Args:
        image: [1, H, W, 3].

    Returns:
        Two scalars; a picture one pixel high (wide) has no dy (dx) and 0 there.
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
