"""Large pictures in bounded memory: the grid of tiles, and the planning of memory."""
