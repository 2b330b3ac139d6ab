"""Checkpoints and exported files: written, identified, read, verified."""
