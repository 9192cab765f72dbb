"""One check in a process of its own: python -m threeages.doctor.child NAME prints its findings as JSON."""

import json
import sys

from threeages.doctor.checks import find_check
from threeages.doctor.running import run_here


def main(name: str) -> None:
    """Print the findings of the check of that name on the last line."""
    found = [finding.to_dict() for finding in run_here(find_check(name))]
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main(sys.argv[1])
