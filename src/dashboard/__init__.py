"""Training seen from inside, in TensorBoard."""
