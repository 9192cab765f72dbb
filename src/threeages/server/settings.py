"""Settings of the service: limits, times, keys."""

import os
import re
from dataclasses import dataclass

from threeages.errors import ConfigError
from threeages.evaluation.betting import LEVEL, check_level
from threeages.evaluation.drift import AnswerHistogram
from threeages.inference.brackets import Brackets
from threeages.sessions import AUTO, check_device

MIB = 2**20


def count_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Settings:
    """Settings of the service, in bytes, pixels and seconds; the defaults suit a machine of two cores.

    Raises ConfigError, which names every setting that is not valid.
    """

    workers: int = count_cores()  # processes that decode and detect; the model runs in one more thread
    batch_size: int = 32  # faces
    batch_wait: float = (
        0.010  # how long a face may wait for a fuller batch while other images are being prepared
    )
    max_body: int = 32 * MIB
    max_images: int = 32  # in a request
    max_fields: int = 16  # text fields in a form
    max_pixels: int = 50_000_000  # in an image; a phone's largest photo has 48 to 50 million
    max_requests: int = 1024  # under way; the last resort, as the queue refuses long before
    queue_size: int = 256  # images accepted and not yet answered
    max_waiting: int = 256 * MIB  # bytes of bodies accepted and not yet answered
    upload_timeout: float = 20.0  # to receive a body
    image_timeout: float = 10.0  # to decode an image and find its faces
    request_timeout: float = 30.0  # from the received body to the answer
    worker_memory: int = 1536 * MIB  # address space that a decoding process may add
    keep_alive: float = 75.0  # of an idle connection; more than a proxy's, which else reuses a closed one
    drain: float = 1.0  # after a stop signal: answers still come, each with 'Connection: close'
    max_error: float | None = None  # target error rate, as of Predictor
    coverage: float | None = None  # target coverage of prediction sets, as of Predictor
    reference: AnswerHistogram | None = None  # answers to the calibration set, to find drift by
    alarm_level: float = LEVEL  # probability of a false alarm of each monitor
    brackets: Brackets | None = None  # of ages, as of Predictor
    device: str = AUTO  # of the model; decoders find faces on the CPU
    rate_limit: int | None = None  # requests a minute for each client
    api_keys: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ("*",)  # values of the Host header
    cors_origins: tuple[str, ...] = ()
    root_path: str = ""  # sub-path of the service behind a proxy, such as /faces

    def __post_init__(self) -> None:
        numbers = {
            name: value
            for name, value in vars(self).items()
            if isinstance(value, int | float) and name not in {"batch_wait", "drain"}
        }
        errors = [
            f"{name} was {value}; it must be above 0" for name, value in numbers.items() if not value > 0
        ]
        errors += [f"{n} was negative" for n in ("batch_wait", "drain") if getattr(self, n) < 0]
        check_device(self.device)
        check_level(self.alarm_level)
        if not re.fullmatch(r"(/[\w.~-]+)*", self.root_path):
            errors.append(f"root_path was '{self.root_path}'; it must be a path such as /faces")
        if any(len(key) < 16 for key in self.api_keys):
            errors.append("an API key has fewer than 16 characters")
        if "*" in self.cors_origins and self.api_keys:
            errors.append("CORS was opened to every origin although API keys are in use")
        if errors:
            raise ConfigError(
                "The service's settings are not valid: " + "; ".join(errors) + ".", hint="Change them."
            )
