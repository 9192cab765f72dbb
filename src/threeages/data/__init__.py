"""From a data set on disk to batches: sources, audit, split, pixel cache."""
