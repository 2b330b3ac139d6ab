"""A trained network at work: one module, test-time augmentation, records of predictions."""
