"""What kill -9 breaks:   python benchmarks/kills.py [--runs 20] [--every] [--seed 0] [--only train].

Every command that works for long is killed at seeded moments, started again until it ends, and its result is
compared with that of an undisturbed run: see benchmarks/kill_cases.py for the commands and for what is
compared. With --every a run is killed before each file operation, and no result is written. Exit code 1
where anything differs, is left, lives on, is damaged or ends in a traceback.
"""

import argparse
import tempfile
from pathlib import Path

from kill_cases import EXCLUDED, create_cases
from killing import Outcome, kill_case, kill_everywhere

from threeages.files.csvfiles import replace_rows
from threeages.studies.results import describe_origin

RESULTS = Path(__file__).parents[1] / "results" / "kills.csv"
PROBLEMS = ("differences", "leftovers", "survivors", "tracebacks", "damaged", "failed")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20, help="runs of each command that are killed")
    parser.add_argument("--every", action="store_true", help="kill one run before each file operation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="a command by its name; repeatable")
    parser.add_argument("--folder", type=Path, help="keeps the runs with problems")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = (args.folder or Path(name)).absolute()
        cases = create_cases(folder)
        failed = False
        for case in [cases[name] for name in args.only or cases]:
            if args.every:
                outcome = kill_everywhere(case, folder)
            else:
                outcome = kill_case(case, folder, runs=args.runs, seed=args.seed)
                save_row(case.name, outcome, args.seed, args.out)
            print_outcome(case.name, outcome)
            failed |= bool(outcome.problems)
    for pattern, reason in EXCLUDED.items():
        print(f"Not compared: {pattern}, which {reason}.")
    return int(failed)


def print_outcome(name: str, outcome: Outcome) -> None:
    """Print the counts and every problem of a command."""
    print("  ".join(f"{key} {value}" for key, value in _describe(name, outcome).items()), flush=True)
    for kind, text in outcome.problems:
        print(f"  {kind}: {text}", flush=True)


def save_row(name: str, outcome: Outcome, seed: int, out: Path) -> None:
    """Write the counts of a command to the csv of results, in place of its older row."""
    row = _describe(name, outcome) | {"seed": str(seed)} | describe_origin()
    replace_rows(out, [row], ("command",))


def _describe(name: str, outcome: Outcome) -> dict[str, str]:
    counts = {"runs": outcome.runs, "kills": outcome.kills, "restarts": outcome.restarts}
    counts |= {kind: outcome.count(kind) for kind in PROBLEMS}
    return {"command": name} | {key: str(value) for key, value in counts.items()}


if __name__ == "__main__":
    raise SystemExit(main())
