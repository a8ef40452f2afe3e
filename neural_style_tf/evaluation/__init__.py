"""Measure paintings of any program: how much of the photo and of the style is in them."""
