"""`explain`: the maps of images into a folder, with progress; after a stop a second start resumes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from threeages.cli.output import describe_faces
from threeages.cli.remaining import Remaining
from threeages.cli.signals import Interrupted, hold_signals, say_when_interrupted
from threeages.errors import format_count
from threeages.files.atomic import remove_leftovers
from threeages.inference.explain import Explanation, MapMean, explain_images
from threeages.inference.explanation import MapMethod, Predict
from threeages.inference.explanations import (
    JSON_FILE,
    read_stopped,
    write_maps,
    write_means,
    write_picture,
)
from threeages.inference.prepare import FacePreparer


class Explaining:
    """One start of the command: what is explained so far, of an earlier start that was stopped too.

    `about` is what the maps depend on, as the json file says it. With `mean` the mean map is written, and
    none of each image.
    """

    def __init__(self, out: Path, about: Mapping[str, Any], preparer: FacePreparer, *, mean: bool) -> None:
        self._out, self._about, self._preparer = out, about, preparer
        self._means = MapMean() if mean else None
        self._pictures = 0
        earlier = read_stopped(out, about)
        if earlier is None:
            typer.echo(
                f"{out / JSON_FILE} is of other settings, or damaged: it is replaced, and every image is "
                "explained again.",
                err=True,
            )
        self.explanations: list[Explanation] = earlier or []
        self._images = len({one.path for one in self.explanations})
        remove_leftovers(out)

    def run(self, paths: Sequence[Path], make_map: MapMethod, predict: Predict | None) -> None:
        """Explain the images that are not explained yet; `predict` measures what each map is worth."""
        known = {one.path for one in self.explanations}
        left = [path for path in dict.fromkeys(paths) if str(path) not in known]
        if known:
            typer.echo(f"{format_count(known, 'image')} of {self._out / JSON_FILE} are kept.", err=True)
        say_when_interrupted(self._say_kept)
        progress = Remaining(lambda: len(known) + len(left))
        try:
            self._restore_means()
            for done, path in enumerate(left, start=1):  # image by image: a stop loses the one at work alone
                mean = self._means is not None
                faces = list(explain_images([path], self._preparer, make_map, predict=predict, largest=mean))
                with hold_signals():  # while the picture is written
                    self._add(faces)
                progress.show(len(known) + done, done)
            progress.close()
            self._write()
        except Interrupted:
            if self.explanations:
                write_maps(self.explanations, self._about, self._out, complete=False)
            raise

    def _add(self, faces: Sequence[Explanation]) -> None:
        """Take the explanations of one image; a set has too many crops to hold."""
        if self._means is None:
            self._pictures += write_picture(faces, self._out)
        for one in faces if self._means else ():
            self._means.add(one)  # type: ignore[union-attr]
        self.explanations += [replace(one, crop=None) for one in faces]
        self._images += 1

    def _restore_means(self) -> None:
        """Add what an earlier start explained to the means, with the crops that its file does not hold."""
        for one in self.explanations if self._means else ():
            prepared = self._preparer.prepare(one.path, Path(one.path))
            if one.found is not None and one.face < len(prepared.faces):
                self._means.add(replace(one, crop=prepared.faces[one.face].pixels))  # type: ignore[union-attr]

    def _write(self) -> None:
        means = self._means.means() if self._means else {}
        if means:
            typer.echo(f"Written to {write_means(means, self._out)}", err=True)
        typer.echo(f"Written to {write_maps(self.explanations, self._about, self._out)}", err=True)
        if self._pictures or any(mean.crop is not None for mean in means.values()):
            typer.echo(describe_faces("The pictures hold"), err=True)

    def _say_kept(self) -> str:
        if not self.explanations:
            return "No image is explained yet; the same command starts over."
        return f"{format_count(self._images, 'image')} in {self._out / JSON_FILE}; the same command resumes."
