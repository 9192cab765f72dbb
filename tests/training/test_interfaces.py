import sys

import pytest

from threeages.training.interfaces import find_interface


@pytest.mark.skipif(sys.platform != "linux", reason="other systems are left to gloo")
def test_the_loopback_leads_to_this_machine() -> None:
    assert find_interface("127.0.0.1") == "lo"


def test_what_cannot_be_reached_has_none() -> None:
    assert find_interface("no-such-host.invalid") is None
