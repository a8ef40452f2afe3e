"""Helpers that know nothing of style transfer: text, atomic writes, console, starting TensorFlow."""
