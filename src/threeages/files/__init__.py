"""Files: written whole, checked, locked; and the one reader and the one writer of csv."""
