"""Many runs of one command: sweepers, launchers, searches, resume, and tables of the results."""
