"""Initial inverse Hessian H₀ of L-BFGS: one curvature, or one for each band of frequencies.

Notation as in `lbfgs`: s and y are differences of images and of gradients. Along a direction of curvature
λ, y = λ s; so the ratio of their norms is 1/λ, for the whole image or for a part of the spectrum.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from neural_style_tf.optim import State

BANDS = 12
LOWEST, HIGHEST = 0.01, math.sqrt(0.5)
"""Middles of the first and the last band in cycles per pixel; √½ is a chequerboard."""
ENERGY_DECAY = 0.8
"""Decay of the energies of earlier pairs when a new one is added."""
RANGE = 30.0
"""Largest factor between the curvature of a band and that of the whole image."""


class Scalar:
    """H₀ = γ I with γ = s·y / y·y of the newest pair (Nocedal and Wright, eq. 7.20)."""

    def init(self, image: tf.Variable) -> State:
        """Return the state before the first pair: γ = 1."""
        return {"gamma": tf.Variable(1.0, dtype=image.dtype)}

    def learn(self, state: State, s: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Add a pair [1, H, W, 3]; return a tensor that depends on everything that takes memory."""
        gamma = tf.reduce_sum(s * y) / tf.reduce_sum(y * y)
        state["gamma"].assign(gamma)
        return gamma

    def apply(self, state: State, q: tf.Tensor) -> tf.Tensor:
        """Return H₀ q for q [1, H, W, 3]; before the first pair, up to a factor."""
        return state["gamma"] * q

    def inherit(self, state: State, coarser: State) -> None:
        """Take over what was learnt at the next coarser scale: nothing, γ depends on the number of pixels."""

    def forget(self, state: State) -> None:
        """Return to the state before the first pair, also from values that are not finite."""
        state["gamma"].assign(1.0)


class Spectral(Scalar):
    """H₀ = F⁻¹ D F: one γ for each band of spatial frequency and each colour.

    The curvature of the losses differs between frequencies: that of total variation grows with the square of
    the frequency, and the network averages fine detail away. F is the Fourier transform. D holds γ = ‖s‖/‖y‖
    of each band over recent pairs, the geometric mean of the two estimates of Barzilai and Borwein (1988),
    interpolated between bands in the logarithms of frequency and γ.

    Bands are in cycles per pixel, so that the next scale can start from what this one learnt.

    Differs from Gatys et al., whose L-BFGS starts from `Scalar`; the minima are the same.

    Its state: `energies`, Σ|F s|² and Σ|F y|² of each colour and band [2, C, BANDS], decaying with each pair;
    and `pairs`, the number of pairs learnt.
    """

    def init(self, image: tf.Variable) -> State:
        """Return a state with the same γ for all bands."""
        return {
            "energies": tf.Variable(tf.ones([2, image.shape[-1], BANDS], image.dtype)),
            "pairs": tf.Variable(0),
        }

    def learn(self, state: State, s: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """Add the energies of a pair."""
        energies = tf.stack([self._energies(s), self._energies(y)])
        summed = tf.where(state["pairs"] > 0, ENERGY_DECAY * state["energies"] + energies, energies)
        state["energies"].assign(summed)
        state["pairs"].assign_add(1)
        return energies

    def apply(self, state: State, q: tf.Tensor) -> tf.Tensor:
        """Return H₀ q for q [1, H, W, 3]: each band of each colour is multiplied by its own γ."""
        # A band without energy has no logarithm.
        tiny = np.finfo(q.dtype.as_numpy_dtype).tiny
        logs = tf.math.log(state["energies"] + tiny)
        whole = tf.math.log(tf.reduce_sum(state["energies"], [1, 2]) + tiny)
        logs, whole = (logs[0] - logs[1]) / 2, (whole[0] - whole[1]) / 2
        logs = tf.clip_by_value(logs, whole - math.log(RANGE), whole + math.log(RANGE))
        gains, spectrum = self._interpolate(logs, _bands_of(q)), self._transform(q)
        scaled = tf.complex(gains * tf.math.real(spectrum), gains * tf.math.imag(spectrum))
        return tf.transpose(tf.signal.irfft2d(scaled, tf.shape(q)[1:3]), [1, 2, 0])[tf.newaxis]

    def inherit(self, state: State, coarser: State) -> None:
        """Take over the energies; the first pair replaces them."""
        state["energies"].assign(coarser["energies"])

    def forget(self, state: State) -> None:
        """Set the same γ for all bands."""
        state["energies"].assign(tf.ones_like(state["energies"]))
        state["pairs"].assign(0)

    def _transform(self, v: tf.Tensor) -> tf.Tensor:
        return tf.signal.rfft2d(tf.transpose(v[0], [2, 0, 1]))

    def _energies(self, v: tf.Tensor) -> tf.Tensor:
        """Return the energy of v in each colour and band, [C, BANDS]."""
        spectrum, depth = self._transform(v), v.shape[-1]
        power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
        nearest = tf.cast(tf.round(_bands_of(v)), tf.int32)
        labels = nearest + BANDS * tf.range(depth)[:, tf.newaxis, tf.newaxis]
        sums = tf.math.unsorted_segment_sum(power, labels, depth * BANDS)
        return tf.reshape(sums, [depth, BANDS])

    def _interpolate(self, logs: tf.Tensor, bands: tf.Tensor) -> tf.Tensor:
        """Return exp of the logarithms [C, BANDS], interpolated at fractional bands [H, W/2 + 1]."""
        below = tf.minimum(tf.cast(bands, tf.int32), BANDS - 2)
        part = bands - tf.cast(below, logs.dtype)
        slopes = logs[:, 1:] - logs[:, :-1]
        return tf.exp(tf.gather(logs, below, axis=1) + part * tf.gather(slopes, below, axis=1))


def _bands_of(v: tf.Tensor) -> tf.Tensor:
    """Return the fractional band, 0 … BANDS − 1, of each frequency of v [1, H, W, C]: [H, W/2 + 1]."""
    height, width = tf.unstack(tf.shape(v)[1:3])
    rows, columns = tf.range(height), tf.range(width // 2 + 1)
    down = tf.cast(tf.minimum(rows, height - rows), v.dtype) / tf.cast(height, v.dtype)
    right = tf.cast(columns, v.dtype) / tf.cast(width, v.dtype)
    frequency = tf.sqrt(tf.square(down)[:, tf.newaxis] + tf.square(right))
    octaves = tf.math.log(tf.maximum(frequency, LOWEST) / LOWEST)
    return tf.minimum(octaves * ((BANDS - 1) / math.log(HIGHEST / LOWEST)), BANDS - 1)


PRECONDITIONERS = {"spectral": Spectral(), "scalar": Scalar()}
