"""From any picture a user has to images that a network reads: decoding, foreground, segmentation, MNIST's form."""
