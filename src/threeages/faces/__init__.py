"""Bytes and arrays to aligned face crops; knows no model and no manifest."""
