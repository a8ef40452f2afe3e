"""Large pictures in bounded memory: the grid of tiles, the exact gradient over it, planning memory."""
