"""Memory that ends, in words."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from threeages.errors import ThreeAgesError

WORDS = ("can't allocate memory", "not enough memory", "out of memory")  # of torch, where it has no class


@contextmanager
def explain_memory(batch_size: int, input_size: int) -> Iterator[None]:
    """Raise ThreeAgesError, which says what to give, where the block runs out of memory."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's own class is a RuntimeError
        if not is_out_of_memory(error):
            raise
        place = "GPU" if isinstance(error, torch.cuda.OutOfMemoryError) else "machine"
        raise ThreeAgesError(
            f"The {place} has too little memory to train on {batch_size} images of {input_size} px at once.",
            hint="Give a smaller --batch-size or --input-size. Give another --out as well.",
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python or of torch says that no memory is left."""
    known = isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)
    return known or (isinstance(error, RuntimeError) and any(word in str(error).lower() for word in WORDS))
