"""Heads: each owns its logits, its loss, its probabilities and the figure it is judged by."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from threeages.errors import ConfigError
from threeages.labels import AGE_GROUPS, YEARS

MAIN = "age_group"
MAX_AGE = 100
YEARS_SIGMA = 2.5  # years; people's estimates of one face's age scatter by about as much
# CORAL's thresholds learn so many times faster than weights: in 300 steps of Adam at 1e-3 they would move by
# 0.3, and they have to go 1.2 to where OLD, a fifth of the faces, begins
HASTE = 20
SOFT_DECAY = 2.0  # each age group away is exp(-2) times as likely

HeadKind = Literal["softmax", "soft_ordinal", "coral", "corn", "years", "features"]


@dataclass(frozen=True)
class HeadSpec:
    """What a checkpoint keeps of a head: the task's name, the kind and the names of its classes."""

    name: str = MAIN
    kind: str = "softmax"
    classes: tuple[str, ...] = AGE_GROUPS


DEFAULT_HEADS = (HeadSpec(),)


class Head(nn.Module):
    """Features `(n, f)` to logits; targets are class indices `(n,)` of rows whose label is known."""

    @abstractmethod
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean loss of the rows."""

    @abstractmethod
    def probs(self, logits: Tensor, temperature: float = 1.0) -> Tensor:
        """Probabilities `(n, classes)` that add up to 1."""

    def judge(self, logits: Tensor, target: Tensor) -> tuple[str, float]:
        """Name and value of the figure shown for every epoch."""
        return "accuracy", float((self.probs(logits).argmax(1) == target).float().mean())


class SoftmaxHead(nn.Linear, Head):
    """One logit a class, cross-entropy."""

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of the class."""
        return F.cross_entropy(logits, target)

    def probs(self, logits: Tensor, temperature: float = 1.0) -> Tensor:
        """Softmax."""
        return torch.softmax(logits / temperature, dim=1)


class SoftOrdinalHead(SoftmaxHead):
    """Softmax against labels that give neighbouring classes a share (Diaz and Marathe, 2019)."""

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy against `softmax(-2 |class - label|)`."""
        classes = torch.arange(self.out_features, device=target.device)
        soft = torch.softmax(-SOFT_DECAY * (classes - target[:, None]).abs().float(), dim=1)
        return F.cross_entropy(logits, soft)


class YearsHead(SoftmaxHead):
    """Apparent age as a distribution over the years 0 to 100 (deep label distribution learning)."""

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy against a normal distribution of 2.5 years around the age."""
        years = torch.arange(self.out_features, device=target.device)
        soft = torch.softmax(-0.5 * ((years - target[:, None]) / YEARS_SIGMA) ** 2, dim=1)
        return F.cross_entropy(logits, soft)

    def judge(self, logits: Tensor, target: Tensor) -> tuple[str, float]:
        """Mean absolute error of the expected age, in years."""
        years = torch.arange(self.out_features, dtype=torch.float32, device=logits.device)
        return "mae", float((self.probs(logits) @ years - target).abs().mean())


class FeaturesHead(nn.Linear, Head):
    """What another model makes of the same image; for learning only, it answers nothing."""

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean squared difference; targets are float `(n, f)` of variance 1: knowing nothing costs 1."""
        return F.mse_loss(logits, target)

    def probs(self, logits: Tensor, temperature: float = 1.0) -> Tensor:
        """The features themselves."""
        return logits

    def judge(self, logits: Tensor, target: Tensor) -> tuple[str, float]:
        """The share of the features' variance that is explained."""
        return "explained", 1 - float(self.loss(logits, target))


class CornHead(nn.Linear, Head):
    """Is it above class k, given that it is above k - 1? (Shi et al., 2021)."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__(num_features, num_classes - 1)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Binary cross-entropy of each question over the rows that it is asked of."""
        ranks = torch.arange(logits.shape[1], device=target.device)
        asked = target[:, None] >= ranks
        above = (target[:, None] > ranks).float()
        terms = F.binary_cross_entropy_with_logits(logits, above, reduction="none")
        return (terms * asked).sum() / asked.sum()

    def probs(self, logits: Tensor, temperature: float = 1.0) -> Tensor:
        """From the conditional answers' running product."""
        return _from_above(torch.cumprod(torch.sigmoid(logits / temperature), dim=1))


class CoralHead(Head):
    """One score and a threshold between each two classes (Cao, Mirjalili and Raschka, 2020)."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.score = nn.Linear(num_features, 1, bias=False)
        # thresholds fall from the first on: steps are kept positive, so that the ranks never cross
        self.first = nn.Parameter(torch.tensor(0.5 / HASTE))
        self.steps = nn.Parameter(torch.zeros(num_classes - 2))

    def forward(self, features: Tensor) -> Tensor:
        """Logits `(n, classes - 1)` of being above each class, falling along the row."""
        falls = torch.cat([HASTE * self.first[None], -F.softplus(HASTE * self.steps)])
        logits: Tensor = self.score(features) + torch.cumsum(falls, dim=0)
        return logits

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Binary cross-entropy of being above each class."""
        ranks = torch.arange(logits.shape[1], device=target.device)
        return F.binary_cross_entropy_with_logits(logits, (target[:, None] > ranks).float())

    def probs(self, logits: Tensor, temperature: float = 1.0) -> Tensor:
        """Differences of the cumulative answers, which never cross."""
        return _from_above(torch.sigmoid(logits / temperature))


KINDS: dict[str, Callable[[int, int], Head]] = {
    "softmax": SoftmaxHead,
    "soft_ordinal": SoftOrdinalHead,
    "coral": CoralHead,
    "corn": CornHead,
    "years": YearsHead,
    "features": FeaturesHead,
}


def create_head(spec: HeadSpec, num_features: int) -> Head:
    """A head with fresh weights; raises ConfigError for an unknown kind."""
    if spec.kind not in KINDS:
        raise ConfigError(f"There is no head '{spec.kind}'.", hint=f"Allowed: {', '.join(KINDS)}.")
    return KINDS[spec.kind](num_features, len(spec.classes))


def years_spec() -> HeadSpec:
    """The head of the apparent age in years, 0 to 100."""
    return HeadSpec(YEARS, "years", tuple(str(year) for year in range(MAX_AGE + 1)))


def _from_above(above: Tensor) -> Tensor:
    """Class probabilities from P(above class k), `(n, classes - 1)` and falling along the row."""
    edges = torch.cat([torch.ones_like(above[:, :1]), above, torch.zeros_like(above[:, :1])], dim=1)
    return edges[:, :-1] - edges[:, 1:]
