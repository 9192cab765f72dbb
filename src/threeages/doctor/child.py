"""One check in a process of its own, whose last line on stdout are its findings as JSON."""

import json
import sys

from threeages.doctor.running import Listed, run_here


def main(name: str, module: str, function: str) -> None:
    """Print the findings of that function on the last line."""
    found = [finding.to_dict() for finding in run_here(Listed(name, module, function))]
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
