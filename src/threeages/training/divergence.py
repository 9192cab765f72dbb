"""A loss that is not finite, in words."""

from threeages.errors import ThreeAgesError


def loss_error(loss: float, step: int, epoch: int, hint: str) -> ThreeAgesError:
    """What a user is told of a loss that is not finite; `step` and `epoch` count from 0."""
    return ThreeAgesError(f"The loss became {loss} at step {step + 1} of epoch {epoch + 1}.", hint=hint)
