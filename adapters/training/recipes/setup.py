"""What every recipe's trainer is made from."""

from dataclasses import dataclass, replace
from typing import Any

from adapters.objective import Objective

Row = dict[str, Any]
"""One line of DIR/train.jsonl, or what a recipe made of it."""


@dataclass(frozen=True)
class Setup:
    """The base model and a LoRA to be made on it, or a ``PeftModel`` with ``lora`` None whose adapter is trained on.

    ``arguments`` are what all recipes tell ``transformers.TrainingArguments``; ``batch_size`` counts examples.
    """

    model: Any
    tokenizer: Any
    lora: Any
    objective: Objective
    batch_size: int
    arguments: dict[str, Any]
    callbacks: tuple[Any, ...] = ()

    def parts(self) -> dict[str, Any]:
        """What TRL's trainers all take."""
        return {
            "model": self.model,
            "processing_class": self.tokenizer,
            "peft_config": self.lora,
            "callbacks": list(self.callbacks),
        }

    def onward(self, model: Any, **arguments: Any) -> "Setup":
        """The setup of a further stage, which trains the adapter of ``model`` on and has it as it is as reference."""
        if "ref" in model.peft_config:  # an earlier stage's: TRL makes its own
            model.delete_adapter("ref")
        return replace(self, model=model, lora=None, arguments={**self.arguments, **arguments})
