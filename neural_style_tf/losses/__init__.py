"""The loss terms, their equations, and the objective that adds them up."""
