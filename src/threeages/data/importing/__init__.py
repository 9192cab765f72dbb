"""From a data set as it is found, a folder, an archive or a csv, to a manifest."""
