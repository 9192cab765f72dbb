import os

from threeages.machine import describe_machine


def test_processor_and_cores_are_named() -> None:
    processor, cores = describe_machine().rsplit(", ", 1)
    assert processor
    assert 1 <= int(cores.removesuffix(" cores")) <= (os.cpu_count() or 1)
