"""Metrics, calibration, forgetting, and the figures of an evaluation."""
