"""Many runs from one command: the space of settings, the folder of a sweep, its table, sheet and page."""
