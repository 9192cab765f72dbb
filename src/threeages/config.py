"""The settings of one training, checked all at once and saved with its weights."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from threeages.errors import ConfigError

SplitMode = Literal["random", "people", "none"]


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training's result, besides the data."""

    model: str = "cnn"
    method: Literal["fit", "probe"] = "fit"  # train every weight, or only a linear head on frozen features
    weights: str = ""  # file of pretrained weights; needed by `probe`
    input_size: int = 128
    epochs: int = 10
    batch_size: int = 32
    lr: float = 1e-3  # Keras' default for Adam, which the reference study uses
    split: SplitMode = "random"
    fold: int = 0
    folds: int = 5
    seed: int = 42
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    l2: float = 0.0  # `probe`: penalty on the head; 0 chooses it on the select people
    temperature: float = 0.0  # `probe`: 0 fits it on the select people

    def __post_init__(self) -> None:
        if faults := list(self._faults()):
            raise ConfigError("The settings cannot be used: " + "; ".join(faults) + ".", hint="Change them.")

    def _faults(self) -> list[str]:
        checks = {
            f"input_size is {self.input_size}, at least 32 is needed": self.input_size >= 32,
            f"epochs is {self.epochs}, at least 1 is needed": self.epochs >= 1,
            f"batch_size is {self.batch_size}, at least 1 is needed": self.batch_size >= 1,
            f"lr is {self.lr}, above 0 is needed": self.lr > 0,
            f"split is '{self.split}', allowed are random, people and none": self.split
            in {"random", "people", "none"},
            f"precision is '{self.precision}', allowed are auto, 32-true and bf16-mixed": self.precision
            in {"auto", "32-true", "bf16-mixed"},
            "split none has no people to choose by, so l2 and temperature must be given": self.split != "none"
            or min(self.l2, self.temperature) > 0,
            "method probe needs a file of pretrained weights (--weights FILE)": self.method != "probe"
            or bool(self.weights),
            f"folds is {self.folds}, at least 3 are needed": self.folds >= 3,
            f"fold is {self.fold}, allowed are 0 to {self.folds - 1}": 0 <= self.fold < self.folds,
        }
        return [fault for fault, fine in checks.items() if not fine]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for json and for the checkpoint."""
        return asdict(self)
