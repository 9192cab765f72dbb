"""Tables of predictions to metrics, pictures and pages; needs no torch."""
