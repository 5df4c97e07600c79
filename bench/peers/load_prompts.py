"""Prompts for loading a server: stretches of an old speech, different for every request, the same for every seed.

Lengths are given in tokens and made in characters, at the number of characters that a token of this text has on average; what the server
counted is in the results.
"""

import random
from pathlib import Path

SPEECH = Path(__file__).resolve().parent.parent.parent / "crates/tasks/assets/state-of-the-union-1981.txt"
CHARACTERS_PER_TOKEN = 5.0
#: Prompt lengths in tokens, from and to, the shared beginning not counted.
LENGTHS = {"distinct": (200, 400), "shared-prefix": (200, 400), "long-context": (3900, 4100)}
SHARED_TOKENS = 1000


class Prompts:
    """The prompts of one client."""

    def __init__(self, mode: str, seed: int, client: int) -> None:
        self.words = SPEECH.read_text(encoding="utf-8").split()
        self.random = random.Random(f"{seed} {client}")
        self.lengths = LENGTHS[mode]
        # The same for all clients of a seed.
        shared = random.Random(seed)
        self.shared = self.stretch(SHARED_TOKENS, shared) if mode == "shared-prefix" else None

    def stretch(self, tokens: int, source: random.Random) -> str:
        """About so many tokens of the speech, from anywhere; begins at its start again where it ends."""
        at, wanted = source.randrange(len(self.words)), tokens * CHARACTERS_PER_TOKEN
        taken: list[str] = []
        length = 0
        while length < wanted:
            word = self.words[at % len(self.words)]
            taken.append(word)
            length += len(word) + 1
            at += 1
        return " ".join(taken)

    def next(self) -> list[dict]:
        """The messages of the next request. Its first words are a number that no other request has, so that it shares no beginning."""
        text = self.stretch(self.random.randint(*self.lengths), self.random)
        question = f"Text {self.random.getrandbits(48)}. {text}\n\nGo on with this text."
        asked = {"role": "user", "content": question}
        return [asked] if self.shared is None else [{"role": "system", "content": self.shared}, asked]
