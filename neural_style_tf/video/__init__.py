"""Clips (videos, animations, folders of frames): read and write them, and paint them without flicker."""
