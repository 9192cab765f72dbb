import logging
import warnings

import pytest

from threeages.export.quiet import quiet_quantizer, quiet_torch_onnx


def test_the_exporter_is_silent_inside_and_as_before_outside(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    with quiet_torch_onnx():
        warnings.warn("of the exporter's internals", stacklevel=1)  # pytest turns warnings into errors
        logger.warning("inside")
        print("inside")
    logger.warning("outside")
    assert logger.level == before
    assert caplog.messages == ["outside"]
    assert capsys.readouterr().out == ""


def test_only_the_quantizers_own_advice_is_dropped(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with quiet_quantizer():
        logging.warning("advice")
        logging.error("a fault")
        logging.getLogger("threeages.export.int8").warning("of this package")
        print("advice")
    logging.warning("outside")
    assert caplog.messages == ["a fault", "of this package", "outside"]
    assert capsys.readouterr().out == ""
