import torch

from threeages.models.mobilenet_v1 import (
    GREY,
    NUM_FEATURES,
    PUBLISHED_MEAN,
    MobileNetV1,
    fold_preprocessing,
    rename_published,
)


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


def test_folded_preprocessing_changes_nothing_but_at_the_edge() -> None:
    torch.manual_seed(0)
    first = torch.nn.Conv2d(3, 8, 3)
    weights = {"1.weight": first.weight.data, "1.bias": first.bias.data, "other": torch.zeros(1)}
    folded = fold_preprocessing(weights)
    rgb = torch.randint(0, 256, (2, 3, 16, 16)).float()
    published = first(rgb.flip(1) - torch.tensor(PUBLISHED_MEAN).view(1, 3, 1, 1))
    found = torch.nn.functional.conv2d(rgb - GREY, folded["1.weight"], folded["1.bias"])
    torch.testing.assert_close(found, published, rtol=1e-4, atol=1e-3)
    assert folded["other"] is weights["other"]
