"""The suspects that a reviewer is asked about, and what was decided of them: in the corrections csv alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from threeages.data.corrections import SKIPPED, Decision, add_decision, decide, last_decisions, read_decisions
from threeages.data.manifest import Manifest
from threeages.evaluation.suspects import Suspect
from threeages.labels import AGE_GROUPS


@dataclass(frozen=True)
class ReviewSet:
    """Suspects in their order, and the csv `out` that decisions go to under the name of the `reviewer`.

    What another reviewer decided is not asked again, unless the reviews are `independent`.
    """

    manifest: Manifest
    suspects: Sequence[Suspect]
    out: Path
    reviewer: str
    independent: bool = False

    def list_open(self) -> list[int]:
        """Numbers of the suspects to ask about: those without a decision, then those that were skipped.

        Raises DataError where the csv is damaged.
        """
        found = self._find_decisions()
        skipped = [number for number, decision in found.items() if decision.decision == SKIPPED]
        undecided = [number for number in range(len(self.suspects)) if number not in found]
        return undecided + sorted(skipped)

    def list_decided(self) -> dict[int, str]:
        """The label that was decided on by the number of the suspect, '' where it was skipped."""
        return {number: decision.new for number, decision in self._find_decisions().items()}

    def add(self, number: int, label: str) -> Decision:
        """Write a decision: the label of that suspect is the one given; '' skips it.

        Raises ImageError where its image cannot be read any more, DataError where the csv cannot be written.
        """
        row = self.suspects[number].row
        path = self.manifest.paths[row]
        old = AGE_GROUPS[self.manifest.labels[row]]
        decision = decide(path, self.manifest.root / path, old, label, self.reviewer)
        add_decision(self.out, decision)
        return decision

    def _find_decisions(self) -> dict[int, Decision]:
        """The decision that counts for each suspect decided: one's own before another's."""
        if not self.out.exists():
            return {}
        numbers = {self.manifest.paths[s.row]: number for number, s in enumerate(self.suspects)}
        decisions = [d for d in read_decisions(self.out) if d.path in numbers]
        found: dict[int, Decision] = {}
        for number, by_reviewer in last_decisions(decisions, numbers).items():
            others = [] if self.independent else [d for d in by_reviewer.values() if d.decision != SKIPPED]
            own = by_reviewer.get(self.reviewer)
            if own is not None and (own.decision != SKIPPED or not others):
                found[number] = own
            elif others:
                found[number] = others[-1]
        return found
