"""The parts of an encoder, from shallow to deep."""

from tatr.clip.architecture import Architecture
from tatr.merging.layers import by_depth
from tatr.vectors.layout import Layout


def test_an_encoder_falls_into_stem_blocks_and_head(architecture: Architecture) -> None:
    stem, *blocks, head = by_depth(architecture.layout())
    assert {p.name for p in stem} == {
        f"visual.{name}"
        for name in ("class_embedding", "positional_embedding", "conv1.weight", "ln_pre.weight", "ln_pre.bias")
    }
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        assert len(block) == 12
        assert all(p.name.startswith(f"visual.transformer.resblocks.{number}.") for p in block)
    assert {p.name for p in head} == {"visual.proj", "visual.ln_post.weight", "visual.ln_post.bias"}


def test_more_than_ten_blocks_are_in_the_order_of_their_numbers() -> None:
    layout = Layout.of({f"resblocks.{number}.mlp.weight": (1,) for number in (10, 2, 0)})
    assert [[p.name for p in part] for part in by_depth(layout) if part] == [
        [f"resblocks.{number}.mlp.weight"] for number in (0, 2, 10)
    ]
