"""What is computed once and stored: pixels, features, near duplicates and unpacked archives."""
