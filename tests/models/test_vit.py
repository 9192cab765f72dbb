from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from threeages.models.classifier import create_classifier
from threeages.models.registry import create_signature
from threeages.models.vit import BLOCKS, HEADS, NUM_FEATURES, WIDTH, clip_vit_b16, rename_clip
from threeages.models.weights import load_pretrained

SIZE = 32  # 2 x 2 patches


def _published(grid: int) -> dict[str, torch.Tensor]:
    """Weights under transformers' names, those that the image encoder does without included."""
    torch.manual_seed(1)
    embeddings = "vision_model.embeddings."
    found = {
        embeddings + "class_embedding": torch.randn(WIDTH),
        embeddings + "patch_embedding.weight": 0.02 * torch.randn(WIDTH, 3, 16, 16),
        embeddings + "position_embedding.weight": torch.randn(grid * grid + 1, WIDTH),
        embeddings + "position_ids": torch.arange(grid * grid + 1)[None],
        "logit_scale": torch.ones(()),
        "text_model.encoder.layers.0.mlp.fc1.bias": torch.zeros(2048),
        "visual_projection.weight": torch.zeros(512, WIDTH),
    }
    shapes = {"self_attn.q_proj": WIDTH, "self_attn.k_proj": WIDTH, "self_attn.v_proj": WIDTH}
    shapes |= {"self_attn.out_proj": WIDTH, "mlp.fc1": 4 * WIDTH, "mlp.fc2": WIDTH}
    for block in range(BLOCKS):
        for name, outputs in shapes.items():
            layer = f"vision_model.encoder.layers.{block}.{name}"
            inputs = 4 * WIDTH if name == "mlp.fc2" else WIDTH
            found |= {
                f"{layer}.weight": 0.02 * torch.randn(outputs, inputs),
                f"{layer}.bias": torch.randn(outputs),
            }
    norms = [f"encoder.layers.{block}.layer_norm{i}" for block in range(BLOCKS) for i in (1, 2)]
    for name in [*norms, "pre_layrnorm", "post_layernorm"]:
        found |= {
            f"vision_model.{name}.weight": torch.ones(WIDTH),
            f"vision_model.{name}.bias": torch.zeros(WIDTH),
        }
    return found


@pytest.mark.slow
def test_the_published_weights_fill_the_image_encoder_at_another_size(tmp_path: Path) -> None:
    published = _published(grid=4)
    save_file(published, tmp_path / "clip.safetensors")
    model = create_classifier(create_signature("clip_vit_b16", SIZE))
    load_pretrained(model, str(tmp_path / "clip.safetensors"))
    own = model.net.features.state_dict()
    torch.testing.assert_close(own["1.fc1.weight"], published["vision_model.encoder.layers.0.mlp.fc1.weight"])
    positions, found = (
        published["vision_model.embeddings.position_embedding.weight"],
        own["0.position_embedding"],
    )
    assert found.shape == (5, WIDTH)
    torch.testing.assert_close(found[0], positions[0])  # the class token is not on the grid
    torch.testing.assert_close(found[1:].mean(), positions[1:].mean(), atol=0.02, rtol=0)
    assert model.probs(torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8)).shape == (2, 3)


def test_a_block_is_attention_and_two_layers_as_torch_has_them() -> None:
    torch.manual_seed(0)
    block = clip_vit_b16(input_size=SIZE).features[1]
    x = torch.randn(2, 5, WIDTH)
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    parts = (block.q_proj, block.k_proj, block.v_proj)
    with torch.inference_mode():
        attention.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
        attention.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
        attention.out_proj.load_state_dict(block.out_proj.state_dict())
        y = block.layer_norm1(x)
        expected = x + attention(y, y, y)[0]
        z = block.fc1(block.layer_norm2(expected))
        expected = expected + block.fc2(z * torch.sigmoid(1.702 * z))
        torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-4)


def test_the_features_are_the_class_token_and_the_mean_of_the_patches() -> None:
    net = clip_vit_b16(input_size=SIZE, hidden=8, dropout=0.5).eval()
    tokens = torch.randn(2, 5, WIDTH)
    found = net.pool(tokens)
    assert found.shape == (2, NUM_FEATURES)
    torch.testing.assert_close(found[:, :WIDTH], tokens[:, 0])
    torch.testing.assert_close(found[:, WIDTH:], tokens[:, 1:].mean(1))
    assert net.head.in_features == 8


def test_keys_that_the_image_encoder_lacks_count_as_a_head() -> None:
    assert rename_clip("text_model.final_layer_norm.bias").startswith("head.")
    assert rename_clip("vision_model.encoder.layers.11.self_attn.q_proj.bias") == "12.q_proj.bias"
