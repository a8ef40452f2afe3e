"""Measure paintings by any program: how much content they lose, and how much style they miss."""
