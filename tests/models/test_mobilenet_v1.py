import torch

from threeages.models.mobilenet_v1 import NUM_FEATURES, MobileNetV1, rename_published


def test_the_features_are_those_of_the_last_two_blocks() -> None:
    torch.manual_seed(0)
    net = MobileNetV1().eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        both = net.features(x)
        before = net.features[:-1](x)
    assert both.shape[1] == NUM_FEATURES
    torch.testing.assert_close(both[:, :1024], before)
    torch.testing.assert_close(both[:, 1024:], torch.nn.Sequential(*net.features[-1])(before))


def test_published_keys_lead_to_all_the_features() -> None:
    own = set(MobileNetV1().features.state_dict())
    flat = [f"features.{i}.{kind}" for i in range(68) for kind in ("weight", "bias")]
    assert own <= {rename_published(key) for key in flat}
    assert rename_published("features.64.bias") == "63.1.bias"
    assert rename_published("head.weight") == "head.weight"


def test_the_neck_has_the_units_it_was_given() -> None:
    net = MobileNetV1(hidden=32, dropout=0.5).eval()
    assert net.head.in_features == 32
    assert net(torch.zeros(1, 3, 64, 64))["age_group"].shape == (1, 3)
