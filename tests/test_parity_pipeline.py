"""A whole text-to-video pipeline, tiny and with random weights: from the same prompt and noise, the same frames.

Tokenizer, text encoder, packed text, guidance, UniPC, transformer, VAE: everything that generating takes, against the
diffusers library's `WanPipeline` of the same parts.
"""

import os

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("diffusers", reason="needs the extra: pip install -e '.[parity]'")
pytest.importorskip("transformers", reason="needs the extra: pip install -e '.[parity]'")
os.environ["HF_HUB_OFFLINE"] = "1"

from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

from minisora.diffusion.guidance import guided
from minisora.diffusion.samplers import euler, unipc
from minisora.diffusion.schedule import schedule
from minisora.models.dit import DiT, DiTConfig
from minisora.models.text import TextConfig, TextEncoder
from minisora.models.tokenizer import pretrained_tokenizer
from minisora.models.vae import VAE, VAEConfig
from minisora.tokens.packing import Text, Tokens, pack, pack_text, unpack
from minisora.zoo.names import DIT_DIFFUSERS, TEXT_DIFFUSERS, Spelling, vae_diffusers
from tests.carrying import carry

PROMPT, NEGATIVE = "a red ball rolls over the hill", "grey &amp; dull"
ROWS, STEPS, GUIDANCE, SHIFT = 32, 4, 5.0, 3.0
FRAMES, HEIGHT, WIDTH = 9, 64, 96
VAE_CONFIG = VAEConfig(base=8, channels=4, blocks=1, mean=(0.1, -0.2, 0.3, 0.0), std=(0.9, 1.1, 1.3, 0.7))
DIT_CONFIG = DiTConfig(channels=4, width=48, heads=2, layers=2, mlp=96, text_width=32, text_length=ROWS)
TEXT_CONFIG = TextConfig(vocabulary=64, width=32, heads=4, head_width=8, mlp=48, layers=2)


def randomise(model: nn.Module) -> nn.Module:
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.2)
        if "norm" in name or "gamma" in name:
            parameter.data += 1
    return model.eval()


def carried(ours: nn.Module, theirs: nn.Module, spelling: Spelling) -> nn.Module:
    carry(ours, theirs, spelling)
    return ours.eval()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> WanPipeline:
    words = sorted({*PROMPT.split(), "grey", "&", "dull"})
    known = {"<pad>": 0, "</s>": 1, "<unk>": 2} | {word: 3 + i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    torch.manual_seed(0)
    text, dit, vae = TEXT_CONFIG, DIT_CONFIG, VAE_CONFIG
    return WanPipeline(
        tokenizer=fast,
        text_encoder=randomise(
            UMT5EncoderModel(
                UMT5Config(
                    vocab_size=text.vocabulary, d_model=text.width, d_kv=text.head_width, d_ff=text.mlp,
                    num_layers=text.layers, num_heads=text.heads,
                )
            )
        ),
        vae=randomise(
            AutoencoderKLWan(
                base_dim=vae.base, z_dim=vae.channels, num_res_blocks=vae.blocks,
                latents_mean=list(vae.mean), latents_std=list(vae.std),
            )
        ),
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=SHIFT),
        transformer=randomise(
            WanTransformer3DModel(
                num_attention_heads=dit.heads, attention_head_dim=dit.width // dit.heads, in_channels=dit.channels,
                out_channels=dit.channels, text_dim=dit.text_width, ffn_dim=dit.mlp, num_layers=dit.layers,
                cross_attn_norm=True,
            )
        ),
    )  # fmt: skip


@pytest.fixture(scope="module")
def noise() -> Tensor:
    return torch.randn(1, 4, 3, HEIGHT // 8, WIDTH // 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def expected(reference: WanPipeline, noise: Tensor) -> Tensor:
    reference.set_progress_bar_config(disable=True)
    video = reference(
        prompt=PROMPT, negative_prompt=NEGATIVE, height=HEIGHT, width=WIDTH, num_frames=FRAMES, latents=noise,
        num_inference_steps=STEPS, guidance_scale=GUIDANCE, max_sequence_length=ROWS, output_type="pt",
    ).frames  # fmt: skip
    return video[0].transpose(0, 1) * 2 - 1  # (c, t, h, w) in -1 … 1


@torch.no_grad()
def generate(reference: WanPipeline, noise: Tensor, folder, sampler=unipc, clean: bool = True) -> Tensor:
    encoder = carried(TextEncoder(TEXT_CONFIG), reference.text_encoder, TEXT_DIFFUSERS)
    dit = carried(DiT(DIT_CONFIG), reference.transformer, DIT_DIFFUSERS)
    vae = carried(VAE(VAE_CONFIG), reference.vae, vae_diffusers(VAE_CONFIG))
    reference.tokenizer.save_pretrained(folder)
    tokenizer = pretrained_tokenizer(folder)

    prompts = [PROMPT, NEGATIVE.replace("&amp;", "&") if clean else NEGATIVE]
    rows = encoder([tokenizer.encode(prompt) for prompt in prompts])
    with_prompt, without = (pack_text([row], ROWS) for row in rows)
    tokens = pack([noise[0]], DIT_CONFIG.patch)

    def velocity(text: Text):
        def of(x: Tensor, t: Tensor) -> Tensor:
            integer = (t * 1000).long() / torch.tensor(1000, dtype=torch.float64)  # as the reference truncates it
            return dit(tokens.with_x(x), integer, text)

        return of

    times = schedule(STEPS, SHIFT, floor=1 / 1000).clamp(max=1 - 1e-6).float()
    x = sampler(guided(velocity(with_prompt), velocity(without), GUIDANCE), tokens.x, times)
    latents = unpack(Tokens(x, tokens.pos, tokens.grids, tokens.lengths), DIT_CONFIG.patch)[0]
    return vae.decode(latents[None])[0].clamp(-1, 1)


def rel(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def test_prompt_to_frames(reference: WanPipeline, noise: Tensor, expected: Tensor, tmp_path) -> None:
    frames = generate(reference, noise, tmp_path)
    assert frames.shape == expected.shape == (3, FRAMES, HEIGHT, WIDTH)
    assert expected.std() > 0.1  # a picture, not a grey field
    assert rel(frames, expected) < 1e-5


def test_another_sampler_or_an_uncleaned_prompt_is_noticed(
    reference: WanPipeline, noise: Tensor, expected: Tensor, tmp_path
) -> None:
    assert rel(generate(reference, noise, tmp_path, sampler=euler), expected) > 1e-3
    assert rel(generate(reference, noise, tmp_path, clean=False), expected) > 1e-5
