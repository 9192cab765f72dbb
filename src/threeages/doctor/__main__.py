"""python -m threeages.doctor: the findings as plain lines, without typer, rich or any compiled library."""

import sys

from threeages.doctor.checks import diagnose
from threeages.doctor.findings import worst_verdict


def main() -> int:
    """Write a line for each finding and its advice below; 1 where there is a fault."""
    findings = []
    for finding in diagnose():
        findings.append(finding)
        lines = (f"{finding.check:12}  {finding.verdict:7}  {finding.found}", finding.advice)
        sys.stdout.write("".join(f"{line}\n" for line in lines if line))
        sys.stdout.flush()
    return int(worst_verdict(findings) == "fault")


if __name__ == "__main__":
    raise SystemExit(main())
