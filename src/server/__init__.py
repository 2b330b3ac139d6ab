"""A trained network behind HTTP: requests within limits, pictures in batches, errors of one shape."""
