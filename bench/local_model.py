"""A model in this process, by transformers: its conversations as tokens, and its greedy answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from store.message import Message


class LocalModel:
    """The model in ``folder``, on the CPU, in a ``dtype`` as transformers names it. Its tokenizer pads."""

    def __init__(self, folder: Path, dtype: str) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.tokenizer.pad_token = self.tokenizer.pad_token or self.tokenizer.eos_token
        self.tokenizer.padding_side = "left"
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()

    def text(self, messages: Sequence[Message], *, asks: bool = True) -> str:
        """A conversation as the model reads it, by default up to where the answer begins."""
        text: str = self.tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=asks)
        return text

    def ids(self, messages: Sequence[Message], *, asks: bool = True) -> list[int]:
        """Its tokens."""
        ids: list[int] = self.tokenizer(self.text(messages, asks=asks), add_special_tokens=False)["input_ids"]
        return ids

    def answers(self, prompts: Sequence[Sequence[Message]], room: int) -> list[tuple[str, bool]]:
        """A greedy answer to each, read together, and whether it ended within ``room`` tokens."""
        import torch

        texts = [self.text(prompt) for prompt in prompts]
        asked = self.tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")
        with torch.inference_mode():
            made = self.model.generate(
                **asked, max_new_tokens=room, do_sample=False, pad_token_id=self.tokenizer.pad_token_id
            )[:, asked["input_ids"].shape[1] :]
        said = self.tokenizer.batch_decode(made, skip_special_tokens=True)
        return [(text, self.tokenizer.eos_token_id in ids) for text, ids in zip(said, made.tolist(), strict=True)]
