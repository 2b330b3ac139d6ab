"""Looking at data, training and decisions."""
