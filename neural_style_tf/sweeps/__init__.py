"""Sweeps: many runs from one command, which try different settings or pictures."""
