"""Teaching the text encoder to read, before any transformer listens to it.

An encoder that only ever learns along with a transformer comes to know which words occur in a prompt, and never which
of them belong together: with the colors of two things swapped in their prompt, the transformer's loss stays what it
was. So it learns that first, from text alone, and then stays as it is, like the language model of a full-size one.

caption → rows → one linear layer, which has to tell of each row: its own token; the size, color, shape … of the thing
that its word is about; of how many things the caption speaks
"""

from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from minisora.models.text import TextEncoder
from minisora.models.tokenizer import Tokenizer
from minisora.train.engine import Metrics
from minisora.worlds.language import WORDS, things

ABOUT = ("size", "color", "shape", "motion", "figure", "solid", "place", "spot")
"""What is asked about a thing."""
MOST = 12
"""The largest number of things that is told from others."""
UNASKED = -100
"""The answer to a question that has none, such as the shape of what is no thing."""


class Reader(nn.Module):
    """A text encoder that is asked what it has read."""

    def __init__(self, text: TextEncoder) -> None:
        super().__init__()
        self.text = text
        self.choices = [text.config.vocabulary, MOST + 1, *(len(WORDS[name]) for name in ABOUT)]
        self.tell = nn.Linear(text.config.width, sum(self.choices))

    def forward(self, prompts: list[list[int]]) -> tuple[Tensor, ...]:
        """For each question the scores of all answers, (rows, choices)."""
        return self.tell(torch.cat(self.text(prompts))).split(self.choices, -1)


def step_for(tokenizer: Tokenizer) -> Callable:
    """The step function of the engine, for batches of captions."""
    learned = cache(lambda caption: lesson(caption, tokenizer))

    def step(model: nn.Module, batch: Sequence[str], generator: torch.Generator) -> tuple[Tensor, Metrics]:
        assert isinstance(model, Reader)
        lessons = [learned(caption) for caption in batch]
        answers = torch.cat([answers for _, answers in lessons]).long()
        told = model([ids for ids, _ in lessons])

        losses, right, asked = [], 0, 0
        for scores, answer in zip(told, answers.unbind(1), strict=True):
            rows = (answer != UNASKED).nonzero().squeeze(1)  # asked on the CPU, so that no device is waited for
            if len(rows):
                said, wanted = scores.float()[rows.to(scores.device)], answer[rows].to(scores.device)
                losses.append(cross_entropy(said, wanted))
                right, asked = right + (said.argmax(-1) == wanted).sum(), asked + len(rows)
        return sum(losses), {"right": right / asked, "weight": len(batch), "tokens": len(answers)}  # type: ignore[return-value]

    return step


def lesson(caption: str, tokenizer: Tokenizer) -> tuple[list[int], Tensor]:
    """The ids of a caption, and the answers to all questions about each of them, (ids, questions)."""
    ids = tokenizer.encode(caption)
    spoken = [
        (*(len(caption[:place].encode(errors="replace")) for place in span), said)
        for *span, said in things(caption, ABOUT)
    ]
    answers = torch.full((len(ids), 2 + len(ABOUT)), UNASKED, dtype=torch.int16)
    answers[:, 0], answers[:, 1] = torch.tensor(ids), min(len(spoken), MOST)
    end = 0
    for row, id in enumerate(ids):
        start, end = end, end + len(tokenizer.bytes[id])
        for first, last, said in spoken:
            if start < last and end > first:  # the word is about this thing
                for name, value in said.items():
                    answers[row, 2 + ABOUT.index(name)] = list(WORDS[name]).index(value)
    return ids, answers
