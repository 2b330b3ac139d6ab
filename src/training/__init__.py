"""Build, fit, results."""
