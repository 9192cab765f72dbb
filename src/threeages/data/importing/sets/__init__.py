"""Published data sets of faces: one module a set reads the layout in which it is downloaded."""
