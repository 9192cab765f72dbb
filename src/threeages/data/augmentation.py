"""The probabilities and ranges of augmentation as data: part of a run's settings and of its caches' keys."""

from dataclasses import dataclass

Range = tuple[float, float]


@dataclass(frozen=True)
class Augmentation:
    """Every probability and range of `data.augment`, whose functions take it as an argument.

    A range is (low, high), drawn from evenly; a probability is that of one image. The defaults cover what
    lies between the training sets' own images and faces that a detector finds in films and photos
    (results/surroundings.csv, results/sharpness.csv).
    """

    seed: int = 7  # of the copies that a cache keeps

    # geometry of the face
    rotation: float = 10.0  # degrees, either way
    log_scale: float = 0.15  # natural logarithm of the zoom, either way
    landmark_shift: float = 0.25  # of the landmarks' mean distance from their middle: 5 % of the crop's side
    crop_shift: float = 0.1  # of half a crop's side, which is that again; of crops moved as a whole
    mirror: float = 0.5  # probability

    # the box that a detector finds
    box_shift: float = 0.12  # of the box's longer side: how far each of its sides moves, in or out
    surround: float = 0.5  # probability that the box may reach beyond the image
    surround_colors: float = 0.5  # probability that blots of colour lie there, not the image's reflection

    # the whole image beside the crop
    whole_image: float = 0.25  # share of whole images among what is augmented while training
    whole_degrade: float = 0.5  # probability that a whole image is degraded; crops always may be

    # quality
    resize: float = 0.6  # probability of fewer pixels
    resize_side: Range = (20.0, 110.0)  # pixels, evenly in their logarithm
    blur: float = 0.25  # probability
    blur_sigma: Range = (0.4, 1.8)  # pixels
    jpeg: float = 0.5  # probability
    jpeg_quality: tuple[int, int] = (25, 90)  # the higher one excluded

    # colour and light
    grey: float = 0.12  # probability that the colours go
    color_cast: float = 0.28  # probability of a gain for each channel; never of a grey image
    color_gain: Range = (0.8, 1.2)
    light: float = 0.7  # probability of another contrast and brightness
    contrast: Range = (0.7, 1.3)  # factor around the middle of the range, 128
    brightness: Range = (-30.0, 30.0)  # added, of 255


DEFAULT_AUGMENTATION = Augmentation()
