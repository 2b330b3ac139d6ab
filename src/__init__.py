"""Train, fine-tune, understand and ship image classifiers of the MNIST kind."""

import time

STARTED = time.perf_counter()  # of the process: every command imports this file first
