"""A trained network behind HTTP: requests within limits, pictures in batches, one shape of error."""
