"""Words to numbers: byte pairs, learned here by hand, and the full-size model's own vocabulary, read from a folder.

Every text is a string of bytes, and 256 bytes are a vocabulary in which nothing is ever unknown. It is only long. Byte
pair encoding (Sennrich et al., 2016) shortens it: give the most frequent pair of neighbors a number of its own, and
again, and again. Ids are 0 padding, 1 end of text, 2 … 257 the bytes, then the learned pairs in the order learned.
"""

import html
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from minisora.core.checkpoint import load_json, save_json
from minisora.core.errors import MinisoraError, one_line

PAD, EOS, FIRST_BYTE = 0, 1, 2
FIRST_PAIR = FIRST_BYTE + 256
KIND = "minisora byte pairs"
REMEMBERED = 100_000  # words whose ids are kept, so that a common word is merged only once

# A word keeps the space before it, so that the pieces laid end to end are the text again. Pairs never cross from one
# word to the next. A run is cut after 64 letters, which bounds the work for one word and the length of one pair.
WORD = re.compile(r" ?\w{1,64}| ?[^\w\s]{1,64}|\s")
LONGEST = 4 * 65  # bytes in the longest word: UTF-8 spends at most 4 on a letter

Pair = tuple[int, int]


class Tokenizer:
    """A text to a list of ids that ends with EOS, and back, exactly (a lone surrogate, which is no text, becomes ?)."""

    def __init__(self, pairs: Sequence[Pair] = ()) -> None:
        self.pairs = {pair: FIRST_PAIR + order for order, pair in enumerate(pairs)}
        self.bytes = [b"", b"", *(bytes([byte]) for byte in range(256))]  # what each id stands for
        for left, right in pairs:
            self.bytes.append(self.bytes[left] + self.bytes[right])
        self._words: dict[str, list[int]] = {}

    @classmethod
    def train(cls, captions: Iterable[str], size: int, begun: "Tokenizer | None" = None) -> "Tokenizer":
        """Learn pairs until there are `size` ids, or until no pair is seen twice; those of one that is `begun` stay.

        The most frequent pair comes first, and among equals the one with the smallest ids, so that neither the order
        of the captions nor that of a dictionary plays a part.
        """
        if size < FIRST_PAIR:
            raise MinisoraError(f"a vocabulary of {size} cannot hold every byte: it takes {FIRST_PAIR} ids or more")
        begun = begun or cls()
        words = Counter(word for caption in captions for word in WORD.findall(caption))
        spelled = [begun._encode(word) for word in words]
        times = list(words.values())
        seen: Counter[Pair] = Counter()  # how often each pair of neighbors occurs
        where: defaultdict[Pair, set[int]] = defaultdict(set)  # the words that it occurs, or has occurred, in

        def count(word: int, sign: int) -> None:
            for pair in pairwise(spelled[word]):
                seen[pair] += sign * times[word]
                where[pair].add(word)

        for word in range(len(spelled)):
            count(word, +1)
        pairs = list(begun.pairs)
        while FIRST_PAIR + len(pairs) < size and seen:
            best = max(seen, key=lambda pair: (seen[pair], -pair[0], -pair[1]))
            if seen[best] < 2:
                break
            for word in tuple(where[best]):  # a merge changes only the words that hold it
                count(word, -1)
                spelled[word] = _merge(spelled[word], best, FIRST_PAIR + len(pairs))
                count(word, +1)
            pairs.append(best)
        return cls(pairs)

    @property
    def size(self) -> int:
        """How many ids there are."""
        return len(self.bytes)

    def encode(self, text: str) -> list[int]:
        return [id for word in WORD.findall(text) for id in self._encode(word)] + [EOS]

    def _encode(self, word: str) -> list[int]:
        """Merge as in training: of all pairs that are there, always the one that was learned first."""
        if word in self._words:
            return self._words[word]
        ids = _bytes(word)
        while known := [pair for pair in pairwise(ids) if pair in self.pairs]:
            first = min(known, key=self.pairs.__getitem__)
            ids = _merge(ids, first, self.pairs[first])
        if len(self._words) < REMEMBERED:
            self._words[word] = ids
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids. Bytes that are no UTF-8, which `encode` never makes, show as the character �."""
        ids = list(ids)
        for id in ids:
            if not 0 <= id < self.size:
                raise MinisoraError(f"id {id} stands for nothing: this tokenizer has the ids 0 to {self.size - 1}")
        return b"".join(self.bytes[id] for id in ids).decode("utf-8", errors="replace")

    def save(self, path: str | Path) -> None:
        save_json(path, {"kind": KIND, "pairs": [list(pair) for pair in self.pairs]})

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        content = load_json(path)
        if not isinstance(content, dict) or content.get("kind") != KIND or not isinstance(content.get("pairs"), list):
            raise MinisoraError(f"{path} is not a tokenizer of ours: write one with Tokenizer.train(...).save(path)")
        return cls(_sound(content["pairs"], path))


def _bytes(word: str) -> list[int]:
    return [FIRST_BYTE + byte for byte in word.encode("utf-8", errors="replace")]


def _merge(ids: list[int], pair: Pair, new: int) -> list[int]:
    """Replace a pair wherever it occurs, from left to right."""
    merged: list[int] = []
    at = 0
    while at < len(ids):
        here = tuple(ids[at : at + 2]) == pair
        merged.append(new if here else ids[at])
        at += 2 if here else 1
    return merged


def _sound(pairs: list[Any], path: str | Path) -> list[Pair]:
    """Believe a file's pairs only if each is new, is made of earlier ids, and is no longer than a word."""
    lengths = [0, 0] + [1] * 256
    for pair in pairs:
        known = isinstance(pair, list) and [type(id) for id in pair] == [int, int]
        if not known or not all(FIRST_BYTE <= id < len(lengths) for id in pair):
            raise MinisoraError(f"{path}: pair {len(lengths)} is not two earlier ids; take a fresh copy of the file")
        lengths.append(lengths[pair[0]] + lengths[pair[1]])
        if lengths[-1] > LONGEST:
            raise MinisoraError(f"{path}: pair {len(lengths) - 1} is longer than any word; take a fresh copy")
    sound = [(left, right) for left, right in pairs]
    if len(set(sound)) < len(sound):
        raise MinisoraError(f"{path}: a pair occurs twice; take a fresh copy of the file")
    return sound


@dataclass(frozen=True)
class PretrainedTokenizer:
    """The vocabulary that a full-size encoder was trained with, behind the two functions of `Tokenizer`."""

    backend: Any  # a tokenizers.Tokenizer

    @property
    def size(self) -> int:
        return self.backend.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        return [*self.backend.encode(text, add_special_tokens=False).ids, EOS]

    def decode(self, ids: Iterable[int]) -> str:
        return self.backend.decode(list(ids), skip_special_tokens=True)


def pretrained_tokenizer(folder: str | Path) -> PretrainedTokenizer:
    """Read `tokenizer.json`, as the released models carry it."""
    path = Path(folder) / "tokenizer.json"
    if (Path(folder) / "spiece.model").is_file() and not path.is_file():
        raise MinisoraError(f"{folder} has only spiece.model: put the tokenizer.json of the same model beside it")
    if not path.is_file():
        raise MinisoraError(f"{folder} has no tokenizer.json: give the tokenizer folder of a downloaded model")
    try:
        from tokenizers import Tokenizer as Backend
    except ImportError:
        raise MinisoraError("reading tokenizer.json takes the extra 'parity': pip install minisora[parity]") from None
    try:
        backend = Backend.from_file(str(path))
    except Exception as error:  # the library raises nothing more specific
        reason = one_line(error)
        raise MinisoraError(f"{path} is not a sound tokenizer.json ({reason}): take a fresh copy") from None
    if [backend.token_to_id(token) for token in ("<pad>", "</s>")] != [PAD, EOS]:
        raise MinisoraError(f"{path} is not a T5 vocabulary: <pad> has to be {PAD} and </s> has to be {EOS}")
    backend.no_padding()
    backend.no_truncation()
    return PretrainedTokenizer(backend)


def clean(prompt: str) -> str:
    """A prompt as the full-size model's pipelines clean it: HTML entities resolved twice, every gap one space.

    They run ftfy first, which mends mis-decoded text ("â€™"), straightens curly quotes and makes
    full-width letters and punctuation narrow. That part is left out: pass prompts through ftfy.fix_text to have it.
    """
    return re.sub(r"\s+", " ", html.unescape(html.unescape(prompt))).strip()
