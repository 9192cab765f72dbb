"""Heads: each owns its logits, its loss, its probabilities and its metric."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from threeages.errors import ConfigError
from threeages.labels import AGE_GROUPS, YEARS

MAIN = "age_group"
MAX_AGE = 100
YEARS_SIGMA = 2.5  # years; human estimates of the age of one face scatter by about as much
# CORAL's thresholds have a learning rate this many times that of weights: Adam moves a parameter by at most
# its rate a step, and at the usual 1e-3 the thresholds would not reach their places within an epoch
THRESHOLD_LR_SCALE = 20
SOFT_DECAY = 2.0  # each age group away is exp(-2) times as likely


@dataclass(frozen=True)
class HeadSpec:
    """What a checkpoint keeps of a head: the task's name, the kind (kinds.HEAD_KINDS) and its classes."""

    name: str = MAIN
    kind: str = "softmax"
    classes: tuple[str, ...] = AGE_GROUPS


DEFAULT_HEADS = (HeadSpec(),)


class Head(nn.Module):
    """Features float `(n, f)` to logits; targets are class indices `(n,)` of rows whose label is known.

    A head may take targets of more columns; YearsHead takes ranges.
    """

    @abstractmethod
    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Mean loss of the rows, a scalar."""

    @abstractmethod
    def probs(self, logits: Tensor, temperature: float = 1.0) -> Tensor:
        """Probabilities `(n, classes)` that add up to 1; the logits are divided by `temperature` first."""

    def metric(self, logits: Tensor, target: Tensor) -> tuple[str, float]:
        """Name and value of the metric of an epoch: accuracy, unless a head has another."""
        return "accuracy", float((self.probs(logits).argmax(1) == target).float().mean())


class SoftmaxHead(nn.Linear, Head):
    """One logit a class `(n, classes)`, cross-entropy (multinomial logistic regression; Bridle 1990)."""

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy of the class."""
        return F.cross_entropy(logits, target)

    def probs(self, logits: Tensor, temperature: float = 1.0) -> Tensor:
        """Softmax."""
        return torch.softmax(logits / temperature, dim=1)


class SoftOrdinalHead(SoftmaxHead):
    """Softmax with soft labels that give neighbouring classes a share (SORD; Diaz and Marathe 2019)."""

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy against `softmax(-2 |class - label|)`."""
        classes = torch.arange(self.out_features, device=target.device)
        soft = torch.softmax(-SOFT_DECAY * (classes - target[:, None]).abs().float(), dim=1)
        return F.cross_entropy(logits, soft)


class YearsHead(SoftmaxHead):
    """Apparent age as a distribution over the years 0 to 100, logits `(n, 101)`.

    Label distribution learning (Gao et al. 2017); the age is the expected value (Rothe et al. 2015).
    """

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy against a normal distribution around the age, YEARS_SIGMA wide.

        A target `(n, 2)` holds the first and the last year that an age may be: where they differ the loss is
        the negative log of the probability of that range as a whole, so that nothing is said about where in
        it the age lies.
        """
        if target.ndim == 1:
            return self._exact_loss(logits, target, "mean")
        exact = target[:, 0] == target[:, 1]
        losses = logits.new_zeros(len(target))
        losses[exact] = self._exact_loss(logits[exact], target[exact, 0], "none")
        losses[~exact] = self._range_loss(logits[~exact], target[~exact])
        return losses.mean()

    def metric(self, logits: Tensor, target: Tensor) -> tuple[str, float]:
        """Mean absolute error of the expected age, in years, over the rows whose age is one year."""
        if target.ndim == 2:
            exact = target[:, 0] == target[:, 1]
            logits, target = logits[exact], target[exact, 0]
        years = torch.arange(self.out_features, dtype=torch.float32, device=logits.device)
        return "mae", float((self.probs(logits) @ years - target).abs().mean())

    def _exact_loss(self, logits: Tensor, target: Tensor, reduction: str) -> Tensor:
        years = torch.arange(self.out_features, device=target.device)
        soft = torch.softmax(-0.5 * ((years - target[:, None]) / YEARS_SIGMA) ** 2, dim=1)
        return F.cross_entropy(logits, soft, reduction=reduction)

    def _range_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        years = torch.arange(self.out_features, device=target.device)
        inside = (years >= target[:, :1]) & (years <= target[:, 1:])
        return -torch.logsumexp(F.log_softmax(logits, dim=1).masked_fill(~inside, -torch.inf), dim=1)


class CornHead(nn.Linear, Head):
    """Logits `(n, classes - 1)` of being above class k, given above k - 1 (CORN; Shi et al. 2021)."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__(num_features, num_classes - 1)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Binary cross-entropy of each logit over the rows that its condition holds for."""
        ranks = torch.arange(logits.shape[1], device=target.device)
        conditional = target[:, None] >= ranks
        above = (target[:, None] > ranks).float()
        terms = F.binary_cross_entropy_with_logits(logits, above, reduction="none")
        return (terms * conditional).sum() / conditional.sum()

    def probs(self, logits: Tensor, temperature: float = 1.0) -> Tensor:
        """From the running product of the conditional probabilities."""
        return _from_above(torch.cumprod(torch.sigmoid(logits / temperature), dim=1))


class CoralHead(Head):
    """One score and a threshold between each two classes (CORAL; Cao, Mirjalili and Raschka 2020)."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.score = nn.Linear(num_features, 1, bias=False)
        # thresholds fall from the first on: steps are kept positive, so that the ranks never cross
        self.first = nn.Parameter(torch.tensor(0.5 / THRESHOLD_LR_SCALE))
        self.steps = nn.Parameter(torch.zeros(num_classes - 2))

    def forward(self, features: Tensor) -> Tensor:
        """Logits `(n, classes - 1)` of being above each class, falling along the row."""
        falls = torch.cat(
            [THRESHOLD_LR_SCALE * self.first[None], -F.softplus(THRESHOLD_LR_SCALE * self.steps)]
        )
        logits: Tensor = self.score(features) + torch.cumsum(falls, dim=0)
        return logits

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """Binary cross-entropy of being above each class."""
        ranks = torch.arange(logits.shape[1], device=target.device)
        return F.binary_cross_entropy_with_logits(logits, (target[:, None] > ranks).float())

    def probs(self, logits: Tensor, temperature: float = 1.0) -> Tensor:
        """Differences of the cumulative probabilities, which never cross."""
        return _from_above(torch.sigmoid(logits / temperature))


KINDS: dict[str, Callable[[int, int], Head]] = {
    "softmax": SoftmaxHead,
    "soft_ordinal": SoftOrdinalHead,
    "coral": CoralHead,
    "corn": CornHead,
    "years": YearsHead,
}


def create_head(spec: HeadSpec, num_features: int) -> Head:
    """A head with fresh weights for features `(n, num_features)`; raises ConfigError for an unknown kind."""
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
