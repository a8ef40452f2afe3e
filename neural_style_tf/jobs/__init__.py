"""Runs: check the files of a picture or a clip, paint it, and report progress and errors."""
