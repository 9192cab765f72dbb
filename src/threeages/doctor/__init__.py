"""What is installed and whether it works: a finding with a verdict for each, and what to do."""
