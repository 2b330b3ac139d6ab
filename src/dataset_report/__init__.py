"""A data set studied before training: statistics, figures, duplicates, outliers and label errors on one page."""
