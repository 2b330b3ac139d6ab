"""Many runs of one command: planned, launched, resumed, searched and compared."""
