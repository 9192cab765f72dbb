import torch

from threeages.models.heads import DEFAULT_HEADS
from threeages.models.memory import NUM_FEATURES, Memory, Recall


def _recall() -> Recall:
    torch.manual_seed(0)
    recall = Recall(rows=5, dimensions=8, groups=3)
    recall.projection.copy_(torch.randn(NUM_FEATURES, 8))
    return recall


def test_what_is_remembered_gets_its_own_group() -> None:
    recall = _recall()
    faces = torch.randn(5, 2, NUM_FEATURES)
    recall.keys.copy_(recall.embed(faces))
    recall.groups.copy_(torch.eye(3)[torch.tensor([0, 1, 2, 1, 0])])
    assert recall(faces).argmax(1).tolist() == [0, 1, 2, 1, 0]
    torch.testing.assert_close(recall(faces).exp().sum(1), torch.ones(5), rtol=0, atol=1e-4)


def test_the_mirror_image_is_the_same_face() -> None:
    net = Memory(DEFAULT_HEADS, rows=2, dimensions=8).eval()
    net.neck.projection.copy_(torch.randn(NUM_FEATURES, 8))
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        features, mirrored = net.features(x), net.features(x.flip(3))
    assert features.shape == (2, 2, NUM_FEATURES)
    torch.testing.assert_close(net.neck.embed(features), net.neck.embed(mirrored))


def test_the_head_passes_the_shares_on() -> None:
    net = Memory(DEFAULT_HEADS, rows=4, dimensions=8).eval()
    net.neck.groups.copy_(torch.eye(3)[torch.tensor([0, 0, 1, 2])])
    with torch.inference_mode():
        probs = net.head.probs(net(torch.zeros(1, 3, 64, 64))["age_group"])
    torch.testing.assert_close(probs, torch.tensor([[0.5, 0.25, 0.25]]), rtol=0, atol=1e-4)
