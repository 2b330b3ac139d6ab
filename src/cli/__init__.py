"""The shell around every command: Hydra, overrides, help, one-line errors, status."""
