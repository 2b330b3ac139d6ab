"""The palette of every figure."""

RIGHT, WRONG, QUIET = "#1b7f5c", "#c2402f", "#8a8f98"
