"""Helpers that know nothing of style transfer: files, console, starting TensorFlow."""
