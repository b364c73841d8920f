"""The text encoder against transformers' UMT5, on random weights. The real weights have not been loaded."""

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

os.environ["HF_HUB_OFFLINE"] = "1"
pytest.importorskip("diffusers", reason="the reference: pip install minisora[parity]")
transformers = pytest.importorskip("transformers", reason="the reference: pip install minisora[parity]")

from minisora.core.errors import MinisoraError  # noqa: E402
from minisora.models import text  # noqa: E402
from minisora.models.text import TextConfig, TextEncoder, distance_buckets  # noqa: E402
from minisora.models.tokenizer import clean, pretrained_tokenizer  # noqa: E402
from minisora.zoo.names import TEXT_DIFFUSERS, spell  # noqa: E402
from minisora.zoo.presets import UMT5_XXL  # noqa: E402

BOUND = 1e-5
TINY = TextConfig(vocabulary=99, width=48, heads=4, head_width=16, mlp=80, layers=3)
LENGTHS = (5, 1, 40, 300)  # beyond the largest distance that is told apart


def ours_of(state: dict[str, Tensor], ours: TextEncoder) -> dict[str, Tensor]:
    """Theirs lists the embedding twice, as `shared` and as `encoder.embed_tokens`; the two are one tensor."""
    spelled = spell(ours.state_dict(), TEXT_DIFFUSERS)
    assert sorted([*spelled.values(), "encoder.embed_tokens.weight"]) == sorted(state)
    return {name: state[other] for name, other in spelled.items()}


def reference(config: TextConfig) -> nn.Module:
    sizes = {
        "vocab_size": config.vocabulary, "d_model": config.width, "num_heads": config.heads, "d_kv": config.head_width,
        "d_ff": config.mlp, "num_layers": config.layers, "relative_attention_num_buckets": config.buckets,
        "relative_attention_max_distance": config.max_distance, "layer_norm_epsilon": config.eps,
    }  # fmt: skip
    return transformers.UMT5EncoderModel(transformers.UMT5Config(feed_forward_proj="gated-gelu", **sizes)).eval()


@pytest.fixture(scope="module")
def case() -> tuple[TextEncoder, list[list[int]], list[Tensor]]:
    """Ours with the reference's weights, prompts of mixed lengths, and what the reference says to them."""
    torch.manual_seed(0)
    theirs = reference(TINY)
    for name, parameter in theirs.named_parameters():
        if "norm" in name:
            nn.init.normal_(parameter, 1.0, 0.3)
        elif "bias" in name or "shared" in name:
            nn.init.normal_(parameter)
        else:
            nn.init.normal_(parameter, std=0.7 * parameter.shape[1] ** -0.5)
    ours = TextEncoder(TINY)
    ours.load_state_dict(ours_of(theirs.state_dict(), ours), strict=True)
    prompts = [[*torch.randint(2, 99, (length - 1,)).tolist(), 1] for length in LENGTHS]
    ids = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.long)
    for row, prompt in zip(ids, prompts, strict=True):
        row[: len(prompt)] = torch.tensor(prompt)
    with torch.no_grad():
        states = theirs(input_ids=ids, attention_mask=(ids > 0).long()).last_hidden_state
    return ours, prompts, [rows[:length] for rows, length in zip(states, LENGTHS, strict=True)]


@torch.no_grad()
def worst(case: tuple[TextEncoder, list[list[int]], list[Tensor]]) -> float:
    ours, prompts, wanted = case
    found = ours(prompts)
    return max(((a - b).norm() / b.norm()).item() for a, b in zip(found, wanted, strict=True))


def test_features_are_the_reference_s(case) -> None:
    assert worst(case) < BOUND


def test_scaled_scores_are_noticed(case, monkeypatch: pytest.MonkeyPatch) -> None:
    scaled = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        text, "scaled_dot_product_attention", lambda q, k, v, attn_mask, scale: scaled(q, k, v, attn_mask=attn_mask)
    )
    assert worst(case) > 10 * BOUND


def test_the_exact_gelu_is_noticed(case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "gelu", lambda x, approximate: torch.nn.functional.gelu(x))
    assert worst(case) > 2 * BOUND


def test_a_bias_shared_by_all_layers_is_noticed(case) -> None:
    ours, prompts, wanted = case
    shared = TextEncoder(TINY)
    shared.load_state_dict(ours.state_dict())
    for block in shared.blocks:
        block.attention.bias = ours.blocks[0].attention.bias  # type: ignore[union-attr]
    assert worst((shared, prompts, wanted)) > 10 * BOUND


def test_attended_padding_is_noticed(case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "masked_fill", lambda bias, mask, value: bias.expand(mask.shape[0], -1, -1, -1))
    assert worst(case) > 10 * BOUND


@pytest.mark.parametrize("buckets, distance", [(32, 128), (16, 20), (8, 100)])
def test_distance_classes_are_the_reference_s(buckets: int, distance: int) -> None:
    config = TextConfig(buckets=buckets, max_distance=distance)
    theirs = reference(config).encoder.block[0].layer[0].SelfAttention  # type: ignore[union-attr]
    position = torch.arange(700)
    wanted = theirs._relative_position_bucket(position[None, :] - position[:, None])  # type: ignore[union-attr]
    assert torch.equal(distance_buckets(700, config), wanted)


def test_full_size_names_and_shapes_are_a_bijection() -> None:
    with torch.device("meta"):
        theirs, ours = reference(UMT5_XXL), TextEncoder(UMT5_XXL)
    renamed = ours_of(theirs.state_dict(), ours)
    assert len(renamed) == 242
    assert {name: tensor.shape for name, tensor in renamed.items()} == {
        name: tensor.shape for name, tensor in ours.state_dict().items()
    }


# ---- tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A T5 vocabulary in small: pieces that begin with ▁, bytes for the rest, and an end mark."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    words = ["▁a", "▁red", "▁", "circle", "s", "r", "e", "d", "<", "&"]
    scores = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((word, -1.0 - n) for n, word in enumerate(words))]
    scores += [(f"<0x{byte:02X}>", -30.0) for byte in range(256)]
    backend = Tokenizer(models.Unigram(scores, unk_id=2, byte_fallback=True))
    backend.add_special_tokens(["<pad>", "</s>", "<unk>"])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    backend.enable_truncation(3)
    backend.enable_padding(length=9)
    backend.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_the_vocabulary_of_a_folder_is_read_as_the_reference_reads_it(folder: Path) -> None:
    ours = pretrained_tokenizer(folder)
    theirs = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    assert ours.size == 269
    for prompt in ("a red circle", "", "a red circles & 红 🎈 <red>"):
        ids = ours.encode(prompt)
        assert ids == theirs(prompt, truncation=False, padding=False).input_ids
        assert ids[-1] == 1 and ours.decode(ids) == prompt


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"{}", lambda data: b"\xff" * 20])
def test_a_damaged_vocabulary_is_refused_in_one_line(folder: Path, damage) -> None:
    path = folder / "tokenizer.json"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(MinisoraError, match=r"not a sound tokenizer\.json") as caught:
        pretrained_tokenizer(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_a_vocabulary_of_another_kind_is_refused(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("</s>", "<end>"))
    with pytest.raises(MinisoraError, match="not a T5 vocabulary"):
        pretrained_tokenizer(folder)


def test_prompts_are_cleaned_as_the_pipeline_does_but_for_ftfy(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffusers.pipelines.wan import pipeline_wan

    prompts = [
        "  a&nbsp;red \n\t circle &amp;amp; ",
        "a “star”",
        "一只红色的圆圈，在跳",
        "it&amp;#39;s\u3000here",
        "",
        "â€œbent",
    ]
    theirs = pipeline_wan.prompt_clean
    # with ftfy: the curly quotes, the wide comma and the mis-decoded quote
    assert [clean(prompt) == theirs(prompt) for prompt in prompts].count(False) == 3 * pipeline_wan.is_ftfy_available()  # type: ignore[attr-defined]
    monkeypatch.setattr(pipeline_wan, "is_ftfy_available", lambda: False)
    assert [clean(prompt) for prompt in prompts] == [theirs(prompt) for prompt in prompts]
