"""What a run is: a painting or a clip, checked, painted, and reported."""
