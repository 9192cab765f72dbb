import torch

from threeages.models.mobilenet_v1 import (
    GREY,
    NUM_FEATURES,
    PUBLISHED_MEAN,
    fold_preprocessing,
    mobilenet_v1_face,
    rename_published,
)


def test_the_features_are_those_of_the_last_two_blocks() -> None:
    torch.manual_seed(0)
    net = mobilenet_v1_face().eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        both = net.features(x)
        before = net.features[:-1](x)
    assert both.shape[1] == NUM_FEATURES
    torch.testing.assert_close(both[:, :1024], before)
    torch.testing.assert_close(both[:, 1024:], torch.nn.Sequential(*net.features[-1])(before))


def test_stages_are_the_stem_and_the_blocks_of_the_paper() -> None:
    """A frozen stage ends where a block does: 7 blocks from the end on are the layers 33 to 67."""
    torch.manual_seed(0)
    net = mobilenet_v1_face().eval()
    assert len(net.stages) == 1 + 13 + 1
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(torch.nn.Sequential(*net.stages[:7])(x), net.features[:33](x))
    net.freeze(7)
    trained = {
        name.split(".")[1] for name, p in net.named_parameters() if p.requires_grad and "features" in name
    }
    assert trained == {str(i) for i in range(34, 63) if i % 5 in (4, 1)} | {"63"}


def test_published_keys_lead_to_all_the_features() -> None:
    own = set(mobilenet_v1_face().features.state_dict())
    flat = [f"features.{i}.{kind}" for i in range(68) for kind in ("weight", "bias")]
    assert own <= {rename_published(key) for key in flat}
    assert rename_published("features.64.bias") == "63.1.bias"
    assert rename_published("head.weight") == "head.weight"


def test_the_neck_has_the_units_it_was_given() -> None:
    net = mobilenet_v1_face(hidden=32, dropout=0.5).eval()
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
