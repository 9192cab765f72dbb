"""What a split leaks, as a report: shares of test rows that are known, and the worth of age-blind answers."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threeages.data.leakage.copies import Copy, Repeats, count_repeats, find_copies
from threeages.data.leakage.sides import Shared, Sides, count_shared, name_identities
from threeages.data.manifest import IDENTITY, Manifest
from threeages.evaluation.enough import IMAGE, describe_too_few
from threeages.evaluation.evaluate import plain_values
from threeages.evaluation.gap import AgeBlind, Pictures, measure_answers
from threeages.evaluation.identity_estimate import (
    LIKELY,
    MEASURED,
    EstimateQuality,
    find_likely,
    measure_estimate,
)

REPEATED = 0.05  # share of a label's rows that repeat an image, from which they were oversampled
NO_NAMES = "No identities are named, so that none were counted or kept apart by their names."
NO_ESTIMATE = (
    "No estimate from faces: of the identities that are named here it finds none in train rightly, so it is "
    "worth nothing on these images."
)


@dataclass(frozen=True)
class Estimate:
    """An estimate from face embeddings: the share of test rows whose person is likely in train.

    `measured` is its quality on the film faces, `here` on the manifest's own identities where it names them.
    It warns; it names nobody and fails nothing.
    """

    share: float
    threshold: float
    measured: EstimateQuality = MEASURED
    here: EstimateQuality | None = None


@dataclass(frozen=True)
class LeakageReport:
    """What a split leaks from its `n_train` train rows to its `n_test` test rows.

    `copies` are test rows with a copy in train, `repeats` rows that repeat an image, by label; `shared` are
    the columns with values on both sides, identity first where it is named. `compared` says what kept
    identities apart for the answers: 'identity', 'estimate' or '' where nothing could. `too_few` is a
    sentence where the test rows are too few to tell, `notes` say what was not measured, and why.
    """

    split: str
    n_train: int
    n_test: int
    copies: tuple[Copy, ...]
    repeats: Mapping[str, Repeats]
    shared: tuple[Shared, ...]
    answers: tuple[AgeBlind, ...]
    compared: str
    estimate: Estimate | None = None
    notes: tuple[str, ...] = ()
    too_few: str = ""

    @property
    def shares(self) -> dict[str, float]:
        """What certainly leaks: shares of the test rows, and the largest gap above chance.

        A gap beside an estimate of identities is none of them, as faces that are alike may be of one age; nor
        is one where nothing is on both sides: the split keeps identities apart, and the rest is chance.
        """
        gap = self.largest_gap if self.compared == IDENTITY else None
        return self._crossing | {"gap": 0.0 if gap is None or gap.gap is None else gap.gap}

    @property
    def _crossing(self) -> dict[str, float]:
        """Shares of the test rows whose image, or whose identity where it is named, is in train."""
        found = {"copies": len(self.copies) / max(self.n_test, 1)}
        return found | {shared.column: shared.share for shared in self.shared if shared.column == IDENTITY}

    @property
    def largest_gap(self) -> AgeBlind | None:
        """The answer with the largest gap above chance; None where a split keeps named identities apart."""
        if self.compared == IDENTITY and not any(self._crossing.values()):
            return None
        return max((a for a in self.answers if a.leaks), key=lambda answer: answer.gap or 0, default=None)

    @property
    def named(self) -> bool:
        """Whether identities are named."""
        return any(shared.column == IDENTITY for shared in self.shared)

    @property
    def oversampled(self) -> tuple[str, ...]:
        """Labels whose images were repeated before the split: many repeat, and copies are on both sides."""
        crossed = bool(self.copies)
        return tuple(name for name, found in self.repeats.items() if crossed and found.share >= REPEATED)

    def find_excess(self, limit: float) -> dict[str, float]:
        """The shares that are larger than a limit."""
        return {name: share for name, share in self.shares.items() if share > limit}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without a name or a path; None where something is not defined."""
        exact = sum(copy.kind == "exact" for copy in self.copies)
        raw = {
            "split": self.split,
            "n_train": self.n_train,
            "n_test": self.n_test,
            "exact_copies": exact,
            "near_copies": len(self.copies) - exact,
            "repeats": {
                name: {**asdict(found), "share": found.share} for name, found in self.repeats.items()
            },
            "oversampled": list(self.oversampled),
            "shared": [{**asdict(shared), "share": shared.share} for shared in self.shared],
            "estimate": None if self.estimate is None else asdict(self.estimate),
            "compared": self.compared,
            "answers": [{**asdict(answer), "leaks": answer.leaks} for answer in self.answers],
            "shares": self.shares,
            "too_few": self.too_few,
            "notes": list(self.notes),
        }
        return {key: plain_values(value) for key, value in raw.items()}


def audit_leakage(
    manifest: Manifest,
    sides: Sides,
    pictures: Pictures,
    *,
    within: Sequence[str] = (),
    seed: int = 42,
    threshold: float = LIKELY,
    resamples: int = 1000,
) -> LeakageReport:
    """Measure what the train rows tell of the test rows beside the age.

    `within` are columns of the manifest whose values, such as films, make images alike. Where identities are
    named, every answer is given once more with the test row's identity kept out of train; else, with
    embeddings, without the train rows that likely show the person. Without labels there are no answers. An
    estimate from faces that is never right on the identities that are named is left out.
    """
    named = name_identities(manifest)
    columns = ([IDENTITY] if named else []) + list(within)
    measured = measure_answers(
        named or manifest, sides, pictures, named=named is not None, within=within, seed=seed,
        resamples=resamples,
    )  # fmt: skip
    faces = pictures.embeddings
    estimate = None if faces is None else _estimate(faces, named, sides, threshold)
    wrong = estimate is not None and estimate.here is not None and not estimate.here.purity > 0
    notes = (*(() if named else (NO_NAMES,)), *measured.notes, *((NO_ESTIMATE,) if wrong else ()))
    return LeakageReport(
        split=sides.name,
        n_train=len(sides.train),
        n_test=len(sides.test),
        copies=tuple(find_copies(pictures.digests, pictures.near, sides)),
        repeats=count_repeats(manifest.labels, pictures.digests, pictures.near),
        shared=tuple(count_shared(manifest, column, sides) for column in columns),
        answers=measured.answers,
        compared=measured.apart,
        estimate=None if wrong else estimate,
        notes=notes,
        too_few=_describe_too_few(named, sides),
    )


def _describe_too_few(named: Manifest | None, sides: Sides) -> str:
    n = len(sides.test)
    if named is None:
        return describe_too_few(n, n, IMAGE, "are in the test rows")
    units = len(np.unique(np.asarray(named.columns[IDENTITY])[sides.test]))
    return describe_too_few(n, units, IDENTITY, "are in the test rows")


def _estimate(faces: NDArray[np.float32], named: Manifest | None, sides: Sides, threshold: float) -> Estimate:
    likely = find_likely(faces, sides.train, sides.test, threshold)[0]
    if named is None:
        return Estimate(float(likely.mean()), threshold)
    names = np.asarray(named.columns[IDENTITY])
    return Estimate(
        float(likely.mean()),
        threshold,
        here=measure_estimate(faces, names, sides.train, sides.test, threshold),
    )
