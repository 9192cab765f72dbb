"""What a split leaks from train to test rows: copies of images, identities, and an estimate from faces."""
