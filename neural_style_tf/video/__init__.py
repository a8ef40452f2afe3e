"""Clips: read and write them, follow what moves from frame to frame, paint them without flicker."""
