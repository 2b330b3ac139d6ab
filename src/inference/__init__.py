"""A trained network that answers: one module, test-time augmentation, records of predictions."""
