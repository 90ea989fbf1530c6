"""Answers of the model that is being trained: to many prompts at a time, bounded and seeded."""

from collections.abc import Sequence
from typing import Any

import torch

Message = dict[str, Any]
_AT_A_TIME = 8
_MAX_ROOM = 512


def answers(
    model: Any, tokenizer: Any, prompts: Sequence[list[Message]], *, max_tokens: int, samples: int = 1, seed: int = 0
) -> list[list[str]]:
    """``samples`` answers to each prompt, greedy for 1, else drawn at temperature 1; what did not end is left out."""
    torch.manual_seed(seed)
    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    training = model.training
    model.eval()
    found: list[list[str]] = []
    try:
        for start in range(0, len(prompts), _AT_A_TIME):
            found.extend(_batch(model, tokenizer, prompts[start : start + _AT_A_TIME], max_tokens, samples))
    finally:
        tokenizer.padding_side = side
        model.train(training)
    return found


def room_for(tokenizer: Any, texts: Sequence[str]) -> int:
    """Tokens that an answer like these may take: twice the longest, within bounds."""
    longest = max((len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts), default=0)
    return min(_MAX_ROOM, 16 + 2 * longest)


def _batch(
    model: Any, tokenizer: Any, prompts: Sequence[list[Message]], max_tokens: int, samples: int
) -> list[list[str]]:
    texts = [tokenizer.apply_chat_template(p, tokenize=False, add_generation_prompt=True) for p in prompts]
    asked = tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt").to(model.device)
    drawn = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0} if samples > 1 else {"do_sample": False}
    with torch.no_grad():
        made = model.generate(
            **asked,
            max_new_tokens=max_tokens,
            num_return_sequences=samples,
            pad_token_id=tokenizer.pad_token_id,
            **drawn,
        )
    ends = _ends(model, tokenizer)
    answered = made[:, asked["input_ids"].shape[1] :].tolist()
    found: list[list[str]] = []
    for i in range(len(prompts)):
        ended = [ids for ids in answered[i * samples : (i + 1) * samples] if ends & set(ids)]
        found.append([tokenizer.decode(ids, skip_special_tokens=True) for ids in ended])
    return found


def _ends(model: Any, tokenizer: Any) -> set[int]:
    ids = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(ids if isinstance(ids, list) else [ids])} - {None}


def log_probabilities(model: Any, tokenizer: Any, prompt: list[Message], texts: Sequence[str]) -> list[float]:
    """log p(text | prompt), in nats over all its tokens and its end."""
    start = tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
    skip = len(tokenizer(start, add_special_tokens=False)["input_ids"])
    found = []
    for text in texts:
        whole = tokenizer.apply_chat_template([*prompt, {"role": "assistant", "content": text}], tokenize=False)
        ids = tokenizer(whole, add_special_tokens=False, return_tensors="pt")["input_ids"].to(model.device)
        with torch.no_grad():
            scores = model(input_ids=ids).logits[0, skip - 1 : -1].float().log_softmax(-1)
        found.append(float(scores.gather(1, ids[0, skip:, None]).sum()))
    return found
