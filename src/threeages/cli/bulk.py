"""`predict --out`: the answers for very many images on disk, in shards, resumed."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import Any

import typer

from threeages.cli.inputs import count_inputs, expand_sources, show_passed_over
from threeages.cli.output import print_unreadable
from threeages.cli.remaining import Remaining
from threeages.cli.signals import Interrupted, hold_signals, say_when_interrupted
from threeages.errors import format_count
from threeages.files.checksums import checksum
from threeages.inference.bulk.digests import Shard
from threeages.inference.bulk.listings import ListingReader
from threeages.inference.bulk.run import AnswerPlace, Counts, list_new
from threeages.inference.predictor import Predictor
from threeages.inference.records import Record
from threeages.inference.sources import Source, open_sources

Answer = Callable[[Iterable[Source]], Iterator[list[Record]]]
Engine = AbstractContextManager[Answer]


@contextmanager
def open_cluster(model: Path, address: str | None, **options: Any) -> Iterator[Answer]:
    """What answers images on a Ray cluster, which is started where no address is given."""
    from threeages.cluster.answering import AnswerOptions
    from threeages.cluster.connect import connect_ray
    from threeages.cluster.predicting import predict_on_cluster

    wanted = AnswerOptions(model.absolute(), checksum(model), **options)
    with connect_ray(address) as ray:
        yield lambda sources: predict_on_cluster(ray, sources, wanted)


def describe_settings(model: Path, **options: Any) -> dict[str, Any]:
    """What the answers depend on: the model by the checksum of its file, and the options."""
    return {"model": checksum(model), **options}


def write_answers(
    sources: list[str],
    predictor: Predictor,
    place: AnswerPlace,
    settings: dict[str, Any],
    *,
    resume: bool,
    reader: ListingReader,
    engine: Engine | None = None,
) -> None:
    """Answer the images that are not answered yet, say how many, and exit with 1 where any cannot be read.

    The `engine` answers them; without one the predictor does.
    """
    with place.hold(), engine or nullcontext(predictor.predict_by_image) as answer:
        # a source that cannot be opened is refused before anything is written
        listed = _open_first(open_sources(expand_sources(sources, sys.stdin, reader=reader, lazy=True)))
        answers, seen = place.open(predictor, settings, resume)
        before, counts, done, failed = answers.rows, Counts(), 0, 0
        say_when_interrupted(lambda: _say_kept(answers.rows, place.out))
        images = list_new(listed, answers, seen, place.shard, counts)
        progress = Remaining(lambda: _count_shard(sources, place.shard))
        try:
            for records in answer(images):
                with hold_signals():  # while the records are written
                    answers.add(records)
                    done += 1
                failed += records[0].failed
                progress.show(done + counts.left_out, done)
        except Interrupted:
            place.close(answers, settings)
            raise
        place.close(answers, settings)
        progress.close()
    show_passed_over(reader.passed_over)
    _say_end(place.out, answers.rows - before, counts, failed, reader)


def _open_first(images: Iterable[Source]) -> Iterator[Source]:
    """The same images, once the first of them is known."""
    rest = iter(images)
    return chain(list(islice(rest, 1)), rest)


def _say_kept(rows: int, out: Path) -> str:
    return f"{format_count(rows, 'record')} in {out}; the same command with --resume resumes."


def _count_shard(sources: list[str], shard: Shard) -> int | None:
    """About as many images as the shard has; None where the number is not known before they are read."""
    total = count_inputs(sources)
    return None if total is None else round(total / shard.count)


def _say_end(out: Path, rows: int, counts: Counts, failed: int, reader: ListingReader) -> None:
    new = counts.listed - counts.left_out
    left_out = f" {counts.left_out:,} were answered or listed before." if counts.left_out else ""
    typer.echo(
        f"{format_count(new, 'image')} answered, {format_count(rows, 'record')} added to {out}.{left_out}",
        err=True,
    )
    for problem in reader.problems:
        typer.echo(f"Error: {problem}", err=True)
    if print_unreadable(failed, new) or reader.problems:
        raise typer.Exit(1)
