"""The HTTP service and its page: the `serve` extra."""
