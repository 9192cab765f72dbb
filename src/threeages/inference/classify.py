"""From prepared faces to records: run the model in batches and apply the policy to its outputs."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from threeages.inference.answer import Policy, face_record
from threeages.inference.prepare import PreparedImage
from threeages.inference.records import OK, Record
from threeages.inference.runtime import OnnxModel

BATCH = 32  # faces in one run of the model on a processor

Output = tuple[NDArray[np.float32], NDArray[np.float32] | None]  # of one face: probs (3,), years (101,)


class FaceClassifier:
    """Answers faces that a `FacePreparer` has prepared; threads may share it."""

    def __init__(self, model: OnnxModel, policy: Policy) -> None:
        self.model, self.policy = model, policy

    def outputs(self, images: Sequence[PreparedImage]) -> list[Output]:
        """The outputs of the model for every face of the images, in order."""
        crops = [face.pixels for image in images for face in image.faces]
        found: list[Output] = []
        batch = self.model.batch
        for i in range(0, len(crops), batch):
            probs, years = self.model.predict_all(np.stack(crops[i : i + batch]))
            found += zip(probs, years if years is not None else [None] * len(probs), strict=True)
        return found

    def records(self, images: Sequence[PreparedImage], outputs: Sequence[Output]) -> Iterator[Record]:
        """The records of the images in order, of the outputs for their faces."""
        rest = iter(outputs)
        for image in images:
            if image.status != OK:
                yield Record(image.path, image.status, message=image.message)
            for face in image.faces:
                yield face_record(
                    image.path, face.box, *next(rest), policy=self.policy, rejection=face.rejection
                )

    def records_by_image(
        self, images: Sequence[PreparedImage], outputs: Sequence[Output]
    ) -> Iterator[list[Record]]:
        """The records of each image in one list, in order, of the outputs for their faces."""
        rest = iter(outputs)
        for image in images:
            yield list(self.records([image], list(islice(rest, len(image.faces)))))

    def answer(self, images: Sequence[PreparedImage]) -> Iterator[Record]:
        """The records of the images in order."""
        return self.records(images, self.outputs(images))
