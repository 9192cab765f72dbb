"""The answers for very many images on disk: what is answered already is left out, the rest is added."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from threeages.errors import ConfigError, DataError
from threeages.files.locks import hold_file
from threeages.files.writing import as_json, read_checked_json, write_checked_json
from threeages.inference.bulk.digests import DigestSet, Shard, digest_name
from threeages.inference.bulk.lines import LineFile
from threeages.inference.bulk.parts import PartFolder, part_prefix
from threeages.inference.predictor import Predictor
from threeages.inference.records import Record
from threeages.inference.sources import Source

KINDS = {".jsonl": "jsonl", ".csv": "csv", "": "parquet"}
RESUME = "Add --resume to answer what is missing there, or give another --out."


class Answers(Protocol):
    """Records on disk: a file of lines or a folder of parquet files."""

    rows: int

    def name(self, path: str, /) -> str:
        """The name of an image as it is written."""

    def add(self, records: list[Record], /) -> None:
        """Write the records of one image."""

    def close(self) -> None:
        """Return when everything is on the disk."""


@dataclass
class Counts:
    """Images of the shard: `listed` so far, of these `left_out` as they were answered or listed before."""

    listed: int = 0
    left_out: int = 0


@dataclass(frozen=True)
class AnswerPlace:
    """Where the answers go: a `.jsonl` or `.csv` file, or a folder of parquet files; and of which shard."""

    out: Path
    shard: Shard

    @property
    def kind(self) -> str:
        """`jsonl`, `csv` or `parquet`; raises ConfigError for another name."""
        kind = "parquet" if self.out.is_dir() else KINDS.get(self.out.suffix.lower())
        if kind is None:
            raise ConfigError(
                f"--out was {self.out}.",
                hint="Give a file .jsonl or .csv, or a folder (a name without a suffix) for parquet files.",
            )
        return kind

    @property
    def settings_path(self) -> Path:
        """The file beside the answers that says how they were made."""
        if self.kind == "parquet":
            return self.out / f"_run-{self.shard.number:05}-of-{self.shard.count:05}.json"
        return self.out.with_name(f"{self.out.name}.run.json")

    def hold(self) -> AbstractContextManager[None]:
        """The lock of the answers, for one process at a time."""
        return hold_file(self.settings_path if self.kind == "parquet" else self.out)

    def open(
        self, predictor: Predictor, settings: Mapping[str, Any], resume: bool
    ) -> tuple[Answers, DigestSet]:
        """The answers, and the names of the images that are answered there already.

        Raises DataError where there are answers and `resume` is False, and ConfigError where they were made
        with other settings.
        """
        whole = self._check(as_json({**settings, "shard": str(self.shard)}), resume)
        brackets = predictor.classifier.policy.brackets
        seen = DigestSet()
        answers: LineFile | PartFolder
        if self.kind == "parquet":
            answers = PartFolder(self.out, self.shard, brackets)
        else:
            answers = LineFile(self.out, self.kind, brackets, whole=whole)
        answers.open(lambda name: seen.add(digest_name(name)))
        return answers, seen

    def close(self, answers: Answers, settings: Mapping[str, Any]) -> None:
        """Return when everything is on the disk, and note that no record is missing at its end."""
        answers.close()
        size = None if self.kind == "parquet" else self.out.stat().st_size
        content = as_json({**settings, "shard": str(self.shard)})
        write_checked_json(self.settings_path, {"settings": content, "bytes": size})

    def _check(self, settings: dict[str, Any], resume: bool) -> int | None:
        """The size of the file where it was closed; None where that is not known, or there is none."""
        if not self._has_answers():
            self._check_others(settings)
            write_checked_json(self.settings_path, {"settings": settings, "bytes": None})
            return None
        if not resume:
            raise DataError(f"{self.out} is there already.", hint=RESUME)
        before = read_checked_json(self.settings_path)
        if before is None:
            raise DataError(
                f"Nothing says how {self.out} was made: {self.settings_path} is missing or damaged.",
                hint="Give another --out.",
            )
        check_same(self.out, before["settings"], settings)
        size: int | None = before["bytes"]
        return size

    def _has_answers(self) -> bool:
        if self.kind == "parquet":
            return any(self.out.glob(f"{part_prefix(self.shard)}*.parquet"))
        return self.out.exists() and self.out.stat().st_size > 0

    def _check_others(self, settings: dict[str, Any]) -> None:
        """Raise an error where a folder holds other things, or shards that were made with other settings."""
        if not self.out.is_dir():
            return
        others = [path for path in sorted(self.out.glob("_run-*.json")) if path != self.settings_path]
        visible = [path for path in self.out.iterdir() if not path.name.startswith(("_run-", "."))]
        if visible and not others:
            raise DataError(f"{self.out} holds other files.", hint="Give a new or an empty folder for --out.")
        for path in others:
            found = (read_checked_json(path) or {"settings": {}})["settings"]
            count = str(found.get("shard")).partition("/")[2]
            check_same(self.out, found | {"shard": f"{self.shard.number}/{count}"}, settings)


def check_same(out: Path, before: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Raise ConfigError where answers were made with other settings; it names each of them."""
    names = [name for name in {**before, **settings} if before.get(name) != settings.get(name)]
    if names:
        changes = ", ".join(f"{name} {before.get(name)} before, {settings.get(name)} now" for name in names)
        raise ConfigError(
            f"{out} was begun with other settings: {changes}.",
            hint="Give the settings of before to go on there, or another --out.",
        )


def list_new(
    sources: Iterable[Source], answers: Answers, seen: DigestSet, shard: Shard, counts: Counts
) -> Iterator[Source]:
    """Yield the images of the shard that are not among `seen`, each once, and add them there."""
    for source in sources:
        digest = digest_name(answers.name(source.name))
        if shard.takes(digest):
            counts.listed += 1
            if seen.add(digest):
                yield source
            else:
                counts.left_out += 1
