import asyncio
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import pytest

from threeages.inference.prepare import PreparedFace, PreparedImage
from threeages.inference.records import Record
from threeages.server.engine import Batcher

PIXELS = np.zeros((1, 1, 3), dtype=np.uint8)


def _item(name: str) -> PreparedImage:
    return PreparedImage(name, (PreparedFace((0, 0, 1, 1), PIXELS),))


def _run(
    use: Callable[[Batcher], Awaitable[None]], *, wait: float, busy: bool, size: int = 4, broken: bool = False
) -> list[list[str]]:
    """The batches of the model, by the names of their images."""
    batches: list[list[str]] = []

    def answer(items: Sequence[PreparedImage]) -> list[list[Record]]:
        batches.append([item.path for item in items])
        if broken:
            raise ValueError("the model failed")
        return [[Record(item.path, "ok")] for item in items]

    async def main() -> None:
        batcher = Batcher(answer, size=size, wait=wait, more_coming=lambda: busy)
        try:
            async with asyncio.timeout(20):
                await use(batcher)
        finally:
            await batcher.stop()

    asyncio.run(main())
    return batches


def test_a_lone_image_does_not_wait() -> None:
    async def use(batcher: Batcher) -> None:
        assert await batcher.answer(_item("a")) == [Record("a", "ok")]

    assert _run(use, wait=1000, busy=False) == [["a"]]


def test_images_of_many_requests_share_a_batch() -> None:
    async def use(batcher: Batcher) -> None:
        records = await asyncio.gather(*(batcher.answer(_item(str(i))) for i in range(8)))
        assert [r.path for (r,) in records] == [str(i) for i in range(8)]

    assert _run(use, wait=1000, busy=True) == [["0", "1", "2", "3"], ["4", "5", "6", "7"]]


def test_the_first_waits_no_longer_than_the_budget() -> None:
    async def use(batcher: Batcher) -> None:
        await asyncio.gather(*(batcher.answer(_item(str(i))) for i in range(3)))

    assert _run(use, wait=0.05, busy=True) == [["0", "1", "2"]]


def test_a_failing_model_fails_its_batch_and_no_more() -> None:
    async def use(batcher: Batcher) -> None:
        for _ in range(2):
            with pytest.raises(ValueError, match="the model failed"):
                await batcher.answer(_item("a"))

    assert _run(use, wait=0, busy=False, broken=True) == [["a"], ["a"]]


def test_a_cancelled_request_is_in_no_batch() -> None:
    async def use(batcher: Batcher) -> None:
        gone = asyncio.create_task(batcher.answer(_item("gone")))
        await asyncio.sleep(0)
        gone.cancel()
        await batcher.answer(_item("a"))

    assert _run(use, wait=0.05, busy=True) == [["a"]]
