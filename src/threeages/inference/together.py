"""Several images of the same identity to one record: the pool of the largest face of each."""

from collections.abc import Sequence

from threeages.inference.answer import Policy, Pool, face_record
from threeages.inference.classify import Output
from threeages.inference.prepare import PreparedImage
from threeages.inference.records import NO_FACE_TOGETHER, TOGETHER, Record


class Together:
    """The combined answer for images of the same identity, added one after another.

    It pools the outputs for the largest face of each image (see `Pool`). Several photos give a more accurate
    answer than one: results/photos.csv says by how much.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy, self._pool = policy, Pool()
        self._rejections: list[str] = []

    def add(self, image: PreparedImage, outputs: Sequence[Output]) -> None:
        """Add one image with the outputs for its faces; an image without a face adds nothing."""
        if image.faces:  # the largest comes first
            self._rejections.append(image.faces[0].rejection)
            self._pool.add(*outputs[0], self._rejections[-1])

    def record(self) -> Record:
        """The record of all images together.

        Its `path` is `together` and it has no box. Its status is `no_face` where no image shows a face, and
        a rejection reason where the largest face of every image was rejected.
        """
        if not self._rejections:
            return NO_FACE_TOGETHER
        rejection = "" if "" in self._rejections else self._rejections[0]
        return face_record(TOGETHER, None, *self._pool.mean(), policy=self._policy, rejection=rejection)
