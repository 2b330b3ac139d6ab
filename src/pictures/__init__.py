"""Any user picture to digits in MNIST's form."""
