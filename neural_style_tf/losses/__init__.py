"""The equations, and the objective that adds them up."""
