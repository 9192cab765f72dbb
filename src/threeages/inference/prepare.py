"""From an image to the face crops that a model takes: decode, detect, check the quality, align and crop."""

from dataclasses import dataclass
from pathlib import Path

from threeages.errors import ImageError, ThreeAgesError, describe_cause
from threeages.faces.arrays import Pixels
from threeages.faces.crop import Face, align_crop, crop_box, scale_face, whole_image
from threeages.faces.crowd import MIN_CROWD_SIDE, TILE_FACE, find_in_tiles, small_face_side
from threeages.faces.detect import Detector, search_faces
from threeages.faces.images import MAX_PIXELS, convert_pixels, load_reduced
from threeages.faces.quality import find_rejection_reason
from threeages.inference.records import OK
from threeages.inference.sources import AnySource, Content, load_content
from threeages.signature import Signature

# Shorter side of a decoded photo. The detector works at 640 pixels and sees faces from about 10 there, which
# then have 15 or more; a 12-megapixel JPEG is decoded at half its size, in a third of the time.
DECODED_SIDE = 960
NO_FACE = "No face was found; --no-detect takes the image whole."


@dataclass(frozen=True)
class PreparedFace:
    """One face of an image.

    `box` is x1, y1, x2, y2 in pixels of the upright image, `pixels` the crop, uint8 RGB `(size, size, 3)`,
    and `rejection` the reason why the face is to get no answer, empty where it may get one.
    """

    box: tuple[int, int, int, int]
    pixels: Pixels
    rejection: str = ""


@dataclass(frozen=True)
class PreparedImage:
    """The faces of one image, the largest first, or the status and message that say why there are none."""

    path: str
    faces: tuple[PreparedFace, ...] = ()
    status: str = OK
    message: str = ""


class FacePreparer:
    """Turns images into the face crops of a signature. It needs no model, and threads may share it.

    Without a detector every image is taken whole, as one face crop that no quality check rejects. Images of
    more than `max_pixels` are refused before they are decoded.
    """

    def __init__(
        self, signature: Signature, detector: Detector | None, *, max_pixels: int = MAX_PIXELS
    ) -> None:
        self._signature, self._detector, self._max_pixels = signature, detector, max_pixels

    def prepare(self, path: str, image: AnySource, *, bgr: bool = False) -> PreparedImage:
        """The faces of an image: see `Predictor.predict` for what it may be, and for `bgr`.

        `path` names the image in its records. An image that cannot be read raises nothing: its status and
        message say why. Raises TypeError for what is no image.
        """
        content = load_content(image)
        try:
            pixels, scale, found = self._find(content, bgr)
        except ImageError as error:
            return PreparedImage(path, status=error.status, message=f"{error.message} {error.hint}".strip())
        if not found:
            return PreparedImage(path, status="no_face", message=NO_FACE)
        return PreparedImage(path, tuple(self._prepare(pixels, face, scale) for face in found))

    def prepare_any(self, path: str, image: AnySource) -> PreparedImage:
        """As `prepare`; what a library raises for the image, memory that ends too, makes it `corrupt`.

        Raises what is wrong with the installation, such as MissingDependencyError.
        """
        try:
            return self.prepare(path, image)
        except ThreeAgesError:
            raise
        except (MemoryError, Exception) as error:  # OpenCV raises its own class where memory ends
            message = f"The image cannot be used: {describe_cause(error)}. Save it again."
            return PreparedImage(path, status="corrupt", message=message)

    def _find(self, content: Content, bgr: bool) -> tuple[Pixels, float, list[Face]]:
        """The pixels, how many pixels of the image one of them stands for, and the faces in them."""
        pixels, scale = self._load(content, bgr)
        if self._detector is None:
            return pixels, scale, [whole_image(pixels)]
        found, candidates = search_faces(pixels, self._detector)
        if side := small_face_side([*found, *candidates], max(pixels.shape[:2])):
            return self._find_crowd(content, pixels, scale, found, side)
        return pixels, scale, found

    def _load(self, content: Content, bgr: bool, target: int | None = DECODED_SIDE) -> tuple[Pixels, float]:
        """The pixels, and how many pixels of the image one of them stands for."""
        if isinstance(content, ImageError):
            raise content
        if isinstance(content, Path | bytes):
            return load_reduced(content, target, max_pixels=self._max_pixels)
        return convert_pixels(content, bgr=bgr, max_pixels=self._max_pixels), 1.0

    def _find_crowd(
        self, content: Content, pixels: Pixels, scale: float, found: list[Face], side: float
    ) -> tuple[Pixels, float, list[Face]]:
        """Pixels, scale and faces after a look by tiles; the image is decoded in full only for tiny faces."""
        assert self._detector
        if scale > 1 and side < TILE_FACE:
            full = self._load(content, False, None)[0]  # only files are decoded at less than their size
            zoom = max(full.shape[:2]) / max(pixels.shape[:2])
            found = [scale_face(face, zoom) for face in found]
            pixels, scale, side = full, scale / zoom, side * zoom
        if max(pixels.shape[:2]) >= MIN_CROWD_SIDE:
            found = find_in_tiles(pixels, self._detector, found, side)
        return pixels, scale, found

    def _prepare(self, pixels: Pixels, face: Face, scale: float) -> PreparedFace:
        signature = self._signature
        crop = align_crop(
            pixels, face, signature.input_size, margin=signature.margin, alignment=signature.alignment
        )
        rejection = (
            "" if self._detector is None else find_rejection_reason(face, crop_box(pixels, face, 0), scale)
        )
        x1, y1, x2, y2 = (round(v * scale) for v in face.box)
        return PreparedFace((x1, y1, x2, y2), crop, rejection)
