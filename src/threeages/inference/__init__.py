"""One exported model and images to records; needs neither torch nor a manifest."""
