"""Agreement and accuracy of the int8 models with float32 on held-out identities.

    python -m threeages.studies.int8 "default, identity-disjoint, 5 folds" \\
        --float32 runs/release/fold-* --int8 runs/release/int8/*

Each folder of `--float32` is a run that tested one fold, each of `--int8` the same fold's int8 model as
tools/release.py exports it; both hold a predictions.csv. Writes results/int8.csv.
"""

from collections.abc import Sequence
from pathlib import Path

from threeages.errors import DataError
from threeages.evaluation.predictions import PredictionTable, join_predictions, load_predictions
from threeages.studies.results import Row, create_parser, save_rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare the predictions of all folds together and write one row."""
    parser = create_parser(__doc__, Path("results/int8.csv"))
    parser.add_argument("runs", help="name of the runs in the csv")
    parser.add_argument("--float32", type=Path, nargs="+", required=True)
    parser.add_argument("--int8", type=Path, nargs="+", required=True)
    args = parser.parse_args(arguments)
    float32, int8 = (_join(folders) for folders in (args.float32, args.int8))
    save_rows(args.out, [{"runs": args.runs} | compare(float32, int8)], ("runs",))


def compare(float32: PredictionTable, int8: PredictionTable) -> Row:
    """The share of faces with the same answer, and both accuracies; raises DataError on other rows."""
    if float32.paths != int8.paths:
        raise DataError(
            "The two forms answered other images.", hint="Give both the same folds, in one order."
        )
    known = float32.scored()
    same = float32.probs.argmax(axis=1) == int8.probs.argmax(axis=1)
    right = [(t.probs.argmax(axis=1) == t.labels)[known].mean() for t in (float32, int8)]
    return {
        "faces": str(len(same)),
        "same answer": f"{same.mean():.4f}",
        "accuracy in float32": f"{right[0]:.4f}",
        "accuracy in int8": f"{right[1]:.4f}",
    }


def _join(folders: Sequence[Path]) -> PredictionTable:
    return join_predictions([load_predictions(folder / "predictions.csv") for folder in folders])


if __name__ == "__main__":
    main()
