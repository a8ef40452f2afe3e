"""Initial inverse Hessian H₀ of L-BFGS: one number, or one number for each band of spatial frequencies.

Notation as in `lbfgs`: s is the change of the image in a step, y the change of the gradient. Along a
direction of curvature λ (an eigenvalue of the Hessian), y = λ s. So ‖s‖/‖y‖ estimates 1/λ, for the whole
image or for a part of its spectrum. Here such an estimate is called γ.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from neural_style_tf.optim import State

BANDS = 12
"""Number of bands, evenly spaced in the logarithm of frequency."""
LOWEST, HIGHEST = 0.01, math.sqrt(0.5)
"""Frequencies in the middle of the first and of the last band, in cycles per pixel; √½ is a chequerboard."""
ENERGY_DECAY = 0.8
"""Factor for the energies of earlier pairs when a new pair is added. The energy of an image v in a band is
Σ|F v|² over its frequencies, where F is the Fourier transform."""
RANGE = 30.0
"""Largest factor between γ of a band and γ of the whole image."""


class Scalar:
    """H₀ = γ I with γ = s·y / y·y of the newest pair (Nocedal and Wright, eq. 7.20)."""

    def init(self, image: tf.Variable) -> State:
        """Return the state before the first pair: γ = 1."""
        return {"gamma": tf.Variable(1.0, dtype=image.dtype)}

    def learn(self, state: State, s: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Learn from a pair `s` and `y`, both [1, H, W, 3].

        Return a tensor. When it has been computed, learning needs no more memory.
        """
        gamma = tf.reduce_sum(s * y) / tf.reduce_sum(y * y)
        state["gamma"].assign(gamma)
        return gamma

    def apply(self, state: State, q: tf.Tensor) -> tf.Tensor:
        """Return H₀ q for `q` [1, H, W, 3]. Before the first pair, only its direction is meaningful."""
        return state["gamma"] * q

    def inherit(self, state: State, coarser: State) -> None:
        """Take over nothing from the coarser scale, because γ depends on the number of pixels."""

    def forget(self, state: State) -> None:
        """Return to the state before the first pair, even if values are not finite."""
        state["gamma"].assign(1.0)


class Spectral(Scalar):
    """H₀ = F⁻¹ D F: one γ for each band of spatial frequency and each colour.

    The curvature of the losses depends on frequency: that of total variation grows with the square of the
    frequency, and the network averages fine detail away. F is the Fourier transform. The diagonal matrix D
    has γ = ‖s‖/‖y‖ of each band over recent pairs, which is the geometric mean of the two estimates of
    Barzilai and Borwein (1988). Between bands, log γ is interpolated linearly in the logarithm of frequency.

    Frequencies are in cycles per pixel, so that the next scale can start from what this one has learnt.

    Differs from Gatys et al., whose L-BFGS starts from `Scalar`; the minima are the same.

    The state has `energies` [2, C, BANDS], Σ|F s|² and Σ|F y|² of each of C colours and each band, in which
    older pairs count less; and `pairs`, the number of pairs that it has learnt from.
    """

    def init(self, image: tf.Variable) -> State:
        """Return the state before the first pair, with the same γ for all bands."""
        return {
            "energies": tf.Variable(tf.ones([2, image.shape[-1], BANDS], image.dtype)),
            "pairs": tf.Variable(0),
        }

    def learn(self, state: State, s: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Add the energies of the pair `s` and `y` [1, H, W, 3]; return them."""
        energies = tf.stack([self._energies(s), self._energies(y)])
        summed = tf.where(state["pairs"] > 0, ENERGY_DECAY * state["energies"] + energies, energies)
        state["energies"].assign(summed)
        state["pairs"].assign_add(1)
        return energies

    def apply(self, state: State, q: tf.Tensor) -> tf.Tensor:
        """Return H₀ q for `q` [1, H, W, 3]: each band of each colour is multiplied by its own γ."""
        # `tiny` avoids the logarithm of 0, for a band without energy.
        tiny = np.finfo(q.dtype.as_numpy_dtype).tiny
        logs = tf.math.log(state["energies"] + tiny)
        whole = tf.math.log(tf.reduce_sum(state["energies"], [1, 2]) + tiny)
        logs, whole = (logs[0] - logs[1]) / 2, (whole[0] - whole[1]) / 2
        logs = tf.clip_by_value(logs, whole - math.log(RANGE), whole + math.log(RANGE))
        gains, spectrum = self._interpolate(logs, _bands_of(q)), self._transform(q)
        scaled = tf.complex(gains * tf.math.real(spectrum), gains * tf.math.imag(spectrum))
        return tf.transpose(tf.signal.irfft2d(scaled, tf.shape(q)[1:3]), [1, 2, 0])[tf.newaxis]

    def inherit(self, state: State, coarser: State) -> None:
        """Take over the energies of the coarser scale. The first pair at this scale replaces them."""
        state["energies"].assign(coarser["energies"])

    def forget(self, state: State) -> None:
        """Return to the state before the first pair, with the same γ for all bands."""
        state["energies"].assign(tf.ones_like(state["energies"]))
        state["pairs"].assign(0)

    def _transform(self, v: tf.Tensor) -> tf.Tensor:
        return tf.signal.rfft2d(tf.transpose(v[0], [2, 0, 1]))

    def _energies(self, v: tf.Tensor) -> tf.Tensor:
        """Return the energy Σ|F v|² of `v` [1, H, W, C] in each colour and band, [C, BANDS]."""
        spectrum, depth = self._transform(v), v.shape[-1]
        power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
        nearest = tf.cast(tf.round(_bands_of(v)), tf.int32)
        labels = nearest + BANDS * tf.range(depth)[:, tf.newaxis, tf.newaxis]
        sums = tf.math.unsorted_segment_sum(power, labels, depth * BANDS)
        return tf.reshape(sums, [depth, BANDS])

    def _interpolate(self, logs: tf.Tensor, bands: tf.Tensor) -> tf.Tensor:
        """Return exp of `logs` [C, BANDS], interpolated at the fractional `bands` [H, W/2 + 1].

        The result is [C, H, W/2 + 1].
        """
        below = tf.minimum(tf.cast(bands, tf.int32), BANDS - 2)
        part = bands - tf.cast(below, logs.dtype)
        slopes = logs[:, 1:] - logs[:, :-1]
        return tf.exp(tf.gather(logs, below, axis=1) + part * tf.gather(slopes, below, axis=1))


def _bands_of(v: tf.Tensor) -> tf.Tensor:
    """Return the band of each frequency of `v` [1, H, W, C], a fraction 0 … BANDS − 1: [H, W/2 + 1]."""
    height, width = tf.unstack(tf.shape(v)[1:3])
    rows, columns = tf.range(height), tf.range(width // 2 + 1)
    down = tf.cast(tf.minimum(rows, height - rows), v.dtype) / tf.cast(height, v.dtype)
    right = tf.cast(columns, v.dtype) / tf.cast(width, v.dtype)
    frequency = tf.sqrt(tf.square(down)[:, tf.newaxis] + tf.square(right))
    octaves = tf.math.log(tf.maximum(frequency, LOWEST) / LOWEST)
    return tf.minimum(octaves * ((BANDS - 1) / math.log(HIGHEST / LOWEST)), BANDS - 1)


PRECONDITIONERS = {"spectral": Spectral(), "scalar": Scalar()}
