"""What an explanation by Grad-CAM takes of a run: its preprocessing, its answers and its maps."""

from functools import partial
from pathlib import Path

from threeages.errors import ConfigError
from threeages.faces.images import Pixels
from threeages.inference.explanation import FaceMap, MapMethod, Predict, find_answer
from threeages.models.grad_cam import GradCam, predict_probs
from threeages.signature import Signature
from threeages.training.checkpoint import load_checkpoint


def open_grad_cam(run: Path) -> tuple[Signature, Predict, MapMethod]:
    """The signature of a run's model, its function of probabilities, and the one that makes its maps.

    Raises ConfigError where `run` is no folder, ModelError where it holds no model or one without maps.
    """
    if not run.is_dir():
        raise ConfigError(
            f"Grad-CAM needs the weights of a run, and {run} is no run folder.",
            hint="Give --model RUN, or use --method occlusion, which serves every model.",
        )
    model = load_checkpoint(run)[0]
    cam = GradCam(model)
    predict = partial(predict_probs, model)

    def make_map(pixels: Pixels) -> FaceMap:
        group, prob = find_answer(predict, pixels)
        return FaceMap(group, prob, cam.compute(pixels, group))

    return model.signature, predict, make_map
