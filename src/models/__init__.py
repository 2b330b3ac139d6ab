"""Networks, one family per file: normalised images (B, C, H, W) to logits (B, K)."""
