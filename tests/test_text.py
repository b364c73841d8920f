"""Text: every text comes back from its ids, and a prompt is encoded as if it were alone."""

import json
import random
import re
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from minisora.core.checkpoint import load_tensors, save_tensors
from minisora.core.errors import MinisoraError
from minisora.models.text import Attention, TextConfig, TextEncoder, distance_buckets, truncate
from minisora.models.tokenizer import EOS, FIRST_PAIR, LONGEST, PAD, WORD, Tokenizer, clean, pretrained_tokenizer
from minisora.worlds import WORLDS, world
from tests.hostile import mutate


def captions(seeds: range) -> list[str]:
    return [world(name).caption(world(name).sample(seed)) for name in WORLDS for seed in seeds]


TRAINED = Tokenizer.train(captions(range(60)), 512)
SMALL = TextConfig(vocabulary=40, width=24, heads=3, head_width=16, mlp=40, layers=2)  # heads x head_width != width
XXL = TextConfig(vocabulary=256384, width=4096, heads=64, head_width=64, mlp=10240, layers=24)
PROMPTS = [[5, 9, 3, 30, 1], [1], [7] * 23 + [1], [*range(2, 40), *range(2, 40), 1], [12, 1]]


def one_line(error: pytest.ExceptionInfo[MinisoraError]) -> bool:
    return len(str(error.value).splitlines()) == 1


# ---- tokenizer


@given(st.text())
@example("")
@example("  two  spaces,\ttab\r\nand a line. ")
@example("一只红色的圆圈 🎈👩‍👩‍👧 naïve Ελληνικά ١٢٣ <pad></s>")
@example("a" * 1000 + "语" * 1000 + "!?" * 500)
def test_every_text_comes_back(text: str) -> None:
    for tokenizer in (TRAINED, Tokenizer()):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        assert ids[-1] == EOS and not {PAD, EOS} & set(ids[:-1]), "only padding is padding, and only the end is the end"
        assert max(ids) < tokenizer.size
    assert "".join(WORD.findall(text)) == text
    assert Tokenizer().encode(text) == [2 + byte for byte in text.encode()] + [EOS]


def test_training_by_hand() -> None:
    """ab ×1, ␣ab ×2, ␣cb ×2: first a-b (3 times); then of three pairs seen twice ␣-c, whose ids are smallest."""
    tokenizer = Tokenizer.train(["ab ab ab cb cb"], size=300)
    space, a, b, c = (2 + ord(letter) for letter in " abc")
    assert tokenizer.pairs == {(a, b): 258, (space, c): 259, (space, 258): 260, (259, b): 261}
    assert tokenizer.size == 262, "what is seen only once is not learned"
    assert tokenizer.encode("ab cb abc") == [258, 261, 260, c, EOS]


def recount(captions: list[str], size: int) -> list[tuple[int, int]]:
    """Training as one would first write it: count everything again for every pair."""
    words = Counter(tuple(2 + byte for byte in word.encode()) for text in captions for word in WORD.findall(text))
    pairs: list[tuple[int, int]] = []
    while FIRST_PAIR + len(pairs) < size:
        seen: Counter[tuple[int, int]] = Counter()
        for word, times in words.items():
            for pair in pairwise(word):
                seen[pair] += times
        if not seen or max(seen.values()) < 2:
            break
        best = min(pair for pair in seen if seen[pair] == max(seen.values()))
        merged: Counter[tuple[int, ...]] = Counter()
        for word, times in words.items():
            ids = list(word)
            for at in range(len(ids)):  # what is merged moves everything behind it one place up
                if tuple(ids[at : at + 2]) == best:
                    ids[at : at + 2] = [FIRST_PAIR + len(pairs)]
            merged[tuple(ids)] += times
        words = merged
        pairs.append(best)
    return pairs


@given(st.lists(st.text("ab c", max_size=30), max_size=6), st.integers(FIRST_PAIR, FIRST_PAIR + 12))
@example(captions(range(5)), 300)
def test_counting_only_what_changed_is_counting_again(texts: list[str], size: int) -> None:
    assert list(Tokenizer.train(texts, size).pairs) == recount(texts, size)


@given(st.text("ab circlestng", max_size=40))
@example(captions(range(1))[0])
def test_encoding_repeats_the_training(text: str) -> None:
    """Merging what was learned first is the same as going through all pairs in the order learned."""
    words = [[2 + byte for byte in word.encode()] for word in WORD.findall(text)]
    for pair, new in TRAINED.pairs.items():
        for ids in words:
            for at in range(len(ids)):
                if tuple(ids[at : at + 2]) == pair:
                    ids[at : at + 2] = [new]
    assert [id for ids in words for id in ids] + [EOS] == TRAINED.encode(text)


def test_training_does_not_depend_on_the_order_of_captions() -> None:
    texts = captions(range(60))
    random.Random(0).shuffle(texts)
    assert Tokenizer.train(iter(texts), 512).pairs == TRAINED.pairs


def test_more_words_can_be_learned_later() -> None:
    """The pairs of before keep their ids. Of the same captions, stopping and going on is not stopping at all."""
    texts = captions(range(60))
    half = Tokenizer.train(texts, 400)
    assert Tokenizer.train(texts, 512, begun=half).pairs == TRAINED.pairs
    shapes = Tokenizer.train((world("shapes").caption(world("shapes").sample(seed)) for seed in range(60)), 350)
    more = Tokenizer.train(texts, 512, begun=shapes)
    assert list(more.pairs)[: len(shapes.pairs)] == list(shapes.pairs) and more.size == 512
    assert Tokenizer.train(texts, 300, begun=shapes).pairs == shapes.pairs, "nothing is ever forgotten"


def test_a_learned_pair_stays_within_one_word() -> None:
    for piece in TRAINED.bytes[FIRST_PAIR:]:
        assert re.fullmatch(r" ?[\w]+|[^\w\s]+", piece.decode())


def test_words_of_captions_are_about_one_token_each() -> None:
    unseen = captions(range(1000, 1020))
    words = sum(len(WORD.findall(text)) for text in unseen)
    assert sum(len(TRAINED.encode(text)) for text in unseen) < 1.6 * words
    assert sum(len(Tokenizer().encode(text)) for text in unseen) > 4 * words


@given(st.text(), st.text("ab,", min_size=1))
def test_a_text_is_encoded_word_by_word(head: str, tail: str) -> None:
    head += "."
    assert TRAINED.encode(head)[:-1] + TRAINED.encode(" " + tail) == TRAINED.encode(head + " " + tail)


@given(st.lists(st.integers(0, 511)))
def test_any_ids_are_some_text(ids: list[int]) -> None:
    assert isinstance(TRAINED.decode(ids), str)


def test_a_lone_surrogate_is_no_text() -> None:
    assert TRAINED.decode(TRAINED.encode("a\ud800b")) == "a?b"


@pytest.mark.parametrize("ids", [[512], [-1], [5, 10**12, 1]])
def test_ids_beyond_the_vocabulary_are_refused(ids: list[int]) -> None:
    with pytest.raises(MinisoraError, match="0 to 511") as caught:
        TRAINED.decode(ids)
    assert one_line(caught)


def test_a_vocabulary_holds_every_byte() -> None:
    with pytest.raises(MinisoraError, match="258"):
        Tokenizer.train(["a"], 257)
    assert Tokenizer.train([], 258).size == Tokenizer.train([], 512).size == 258


def test_a_tokenizer_comes_back_from_its_file(tmp_path: Path) -> None:
    TRAINED.save(tmp_path / "a.json")
    loaded = Tokenizer.load(tmp_path / "a.json")
    assert loaded.pairs == TRAINED.pairs and loaded.bytes == TRAINED.bytes
    for text in captions(range(3)):
        assert loaded.encode(text) == TRAINED.encode(text)


def test_what_can_be_trained_can_be_loaded(tmp_path: Path) -> None:
    tokenizer = Tokenizer.train([" " + "语" * 200, "语" * 500, "a" * 5000], 400)
    assert max(map(len, tokenizer.bytes)) <= LONGEST
    tokenizer.save(tmp_path / "a.json")
    assert Tokenizer.load(tmp_path / "a.json").pairs == tokenizer.pairs


DOUBLING = [[97, 97]] + [[258 + n, 258 + n] for n in range(14)]  # goes on to any length, if it is believed


@pytest.mark.parametrize(
    "content",
    [
        [], None, {}, {"pairs": []}, {"kind": "minisora byte pairs"}, {"kind": "minisora byte pairs", "pairs": {}},
        *({"kind": "minisora byte pairs", "pairs": pairs}
          for pairs in ([1], [[2]], [[2, 3, 4]], [["a", "b"]], [[True, 3]], [[2.0, 3]], [[0, 5]], [[1, 5]], [[2, 258]],
                        [[2, -3]], [[2, 3], [2, 3]], [None], [[None, 2]], DOUBLING)),
    ],
    ids=lambda content: str(content)[-40:],
)  # fmt: skip
def test_a_foreign_file_is_refused_in_one_line(tmp_path: Path, content: object) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    with pytest.raises(MinisoraError, match=re.escape(str(path))) as caught:
        Tokenizer.load(path)
    assert one_line(caught)


def test_a_damaged_file_is_refused_or_sound(tmp_path: Path) -> None:
    TRAINED.save(tmp_path / "sound.json")
    data, path, refused = (tmp_path / "sound.json").read_bytes(), tmp_path / "a.json", 0
    for seed in range(200):
        path.write_bytes(mutate(data, seed))
        try:
            tokenizer = Tokenizer.load(path)
        except MinisoraError as error:
            assert len(str(error).splitlines()) == 1
            refused += 1
        else:
            assert tokenizer.decode(tokenizer.encode("a large red circle 🎈")) == "a large red circle 🎈"
    assert refused > 100


def test_prompts_are_cleaned() -> None:
    assert clean("  a&nbsp;red \n\t circle &amp;amp;  a &lt;star&gt; ") == "a red circle & a <star>"
    for text in captions(range(3)):
        assert clean(text) == clean(clean(text)) == text


def test_a_folder_without_a_vocabulary_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MinisoraError, match=r"no tokenizer\.json") as caught:
        pretrained_tokenizer(tmp_path)
    assert one_line(caught)
    (tmp_path / "spiece.model").write_bytes(b"x")
    with pytest.raises(MinisoraError, match=r"only spiece\.model"):
        pretrained_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MinisoraError, match="extra 'parity'") as caught:
        pretrained_tokenizer(tmp_path)
    assert one_line(caught)


# ---- encoder


def small(seed: int = 0) -> TextEncoder:
    """An encoder in which every parameter matters: large biases, and norms around 1."""
    torch.manual_seed(seed)
    encoder = TextEncoder(SMALL)
    for name, parameter in encoder.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(parameter, 1.0, 0.3)
        elif "bias" in name:
            torch.nn.init.normal_(parameter)
    return encoder


def distance(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def gradients(encoder: TextEncoder, batches: list[list[list[int]]]) -> dict[str, Tensor]:
    encoder.zero_grad()
    for batch in batches:
        sum(rows.sin().square().sum() for rows in encoder(batch)).backward()  # type: ignore[union-attr]
    return {name: parameter.grad.clone() for name, parameter in encoder.named_parameters()}  # type: ignore[union-attr]


def test_a_batch_is_its_prompts_one_by_one() -> None:
    encoder = small()
    together, alone = encoder(PROMPTS), [encoder([prompt])[0] for prompt in PROMPTS]
    for prompt, a, b in zip(PROMPTS, together, alone, strict=True):
        assert a.shape == b.shape == (len(prompt), SMALL.width)
        assert distance(a, b) < 1e-6
    one, other = gradients(encoder, [PROMPTS]), gradients(encoder, [[prompt] for prompt in PROMPTS])
    for name in one:
        assert one[name].abs().max() > 0 and distance(one[name], other[name]) < 1e-6, name
    assert not one["embedding.weight"][PAD].any(), "padding learns nothing"


def test_an_encoder_makes_room_for_new_ids() -> None:
    """What it said of the old ones it still says, exactly, and the new ones have rows of the usual size."""
    encoder = TextEncoder(SMALL)
    before = encoder(PROMPTS)
    encoder.grow(140)
    assert encoder.config.vocabulary == encoder.embedding.num_embeddings == 140
    assert all(torch.equal(old, new) for old, new in zip(before, encoder(PROMPTS), strict=True))
    assert 0.8 < encoder.embedding.weight[40:].std() < 1.2
    encoder([[139, 1]])[0].sum().backward()
    assert encoder.embedding.weight.grad[139].abs().sum() > 0
    encoder.grow(50)
    assert encoder.config.vocabulary == 140, "it never shrinks"


def test_no_prompts_and_the_empty_text() -> None:
    encoder = small()
    assert encoder([]) == []
    (rows,) = encoder([Tokenizer().encode("")])
    assert rows.shape == (1, SMALL.width) and rows.isfinite().all()


@pytest.mark.parametrize("prompts", [[[]], [[5, 1], []], [[40, 1]], [[-1, 1]]])
def test_ids_that_the_encoder_does_not_have_are_refused(prompts: list[list[int]]) -> None:
    with pytest.raises(MinisoraError, match="from 0 to 39") as caught:
        small()(prompts)
    assert one_line(caught)


@pytest.mark.parametrize("wrong", [{"width": 0}, {"layers": -1}, {"eps": 0.0}, {"buckets": 30}, {"max_distance": 8}])
def test_a_config_that_cannot_be_built_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(MinisoraError) as caught:
        TextConfig(**wrong)
    assert one_line(caught)


def test_rows_of_one_batch_can_be_kept_in_one_file(tmp_path: Path) -> None:
    rows = {str(order): rows for order, rows in enumerate(small()(PROMPTS))}
    save_tensors(tmp_path / "a.safetensors", rows)
    loaded, _ = load_tensors(tmp_path / "a.safetensors")
    assert all(torch.equal(loaded[name], rows[name]) for name in rows)


def test_the_bias_is_all_that_knows_of_order() -> None:
    encoder, prompt, backwards = small(), [5, 9, 3, 30, 8, 1], [1, 8, 30, 3, 9, 5]
    assert distance(encoder([backwards])[0].flip(0), encoder([prompt])[0]) > 0.1
    for block in encoder.blocks:
        torch.nn.init.zeros_(block.attention.bias.weight)  # type: ignore[union-attr]
    assert distance(encoder([backwards])[0].flip(0), encoder([prompt])[0]) < 1e-6


def test_distances_fall_into_classes() -> None:
    table = distance_buckets(400, TextConfig())
    after, before = table[0], table[:, 0]  # keys after the query, and before it
    assert before[[0, 1, 7, 8, 16, 32, 64, 127, 128, 399]].tolist() == [0, 1, 7, 8, 10, 12, 14, 15, 15, 15]
    assert torch.equal(after[1:], before[1:] + 16), "the two sides are the same, with classes of their own"
    assert (before.diff() >= 0).all(), "what is farther is never in a nearer class"
    assert len(table.unique()) == 31, "only the class of no distance to the right is never used"
    assert torch.equal(table[1:, 1:], table[:-1, :-1]), "only the distance counts"
    assert torch.equal(table[:9, :9], distance_buckets(9, TextConfig())), "and not the length of the prompt"


def test_half_precision_is_close_and_norms_stay_wide() -> None:
    encoder = small()
    exact = encoder(PROMPTS)
    half = small().bfloat16()
    for a, b in zip(half(PROMPTS), exact, strict=True):
        assert a.dtype == torch.bfloat16 and distance(a.float(), b) < 0.05
    with torch.autocast("cpu", torch.bfloat16):
        for a, b in zip(encoder(PROMPTS), exact, strict=True):
            assert distance(a.float(), b) < 0.05
    x = (100 * torch.randn(50, SMALL.width)).bfloat16()
    wide = torch.nn.functional.rms_norm(x.double(), (SMALL.width,), half.norm.weight.double(), SMALL.eps)
    assert ((half.norm(x).double() - wide) / wide).abs().max() < 1.01 * 2**-8, "one rounding to bf16, or two halves"


def test_scores_begin_at_the_size_that_scaling_would_give() -> None:
    torch.manual_seed(0)
    config = TextConfig(width=256, head_width=64)
    attention, x = Attention(config), torch.randn(400, 256)
    q, k = (project(x).unflatten(-1, (4, 64)) for project in (attention.q, attention.k))
    assert torch.einsum("qhd,khd->hqk", q, k).std().item() == pytest.approx(1, abs=0.1)
    encoder = TextEncoder(config)
    assert encoder.embedding.weight.std().item() == pytest.approx(1, abs=0.05)
    for name, parameter in encoder.named_parameters():
        if re.search(r"\.(k|v|out|gate|up|down)\.weight", name):
            assert parameter.std().item() * parameter.shape[1] ** 0.5 == pytest.approx(1, abs=0.05)


def test_it_learns() -> None:
    """Which of two words comes first is a question of order, so it takes the embeddings and the biases."""
    torch.manual_seed(0)
    encoder = TextEncoder(SMALL)
    prompts = [[a, b, 1] for a in range(2, 12) for b in range(2, 12) if a != b]
    larger_first = torch.tensor([float(a > b) for a, b, _ in prompts])
    optimiser = torch.optim.AdamW(encoder.parameters(), 3e-3)
    for _ in range(80):
        guess = torch.stack([rows[-1, 0] for rows in encoder(prompts)])
        loss = torch.nn.functional.binary_cross_entropy_with_logits(guess, larger_first)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1


def test_the_full_size_has_as_many_parameters_as_published() -> None:
    with torch.device("meta"):
        tensors = TextEncoder(XXL).state_dict()
    assert len(tensors) == 242
    assert sum(tensor.numel() for tensor in tensors.values()) == 5_680_910_336


def test_a_long_prompt_keeps_its_end() -> None:
    ids = TRAINED.encode("a large red circle moves to the left")
    assert truncate(ids, len(ids)) == ids and truncate(ids, 512) == ids
    assert truncate(ids, 4) == [*ids[:3], EOS] and truncate(ids, 1) == [EOS]
    with pytest.raises(MinisoraError):
        truncate(ids, 0)
