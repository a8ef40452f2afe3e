"""How each style picture of the examples is painted: one module a picture, and their tools."""
