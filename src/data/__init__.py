"""From files to uint8 batches: download, verify, split, augment, normalise."""
