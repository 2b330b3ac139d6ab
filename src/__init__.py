"""Train, fine-tune, understand and ship image classifiers of the MNIST kind."""
