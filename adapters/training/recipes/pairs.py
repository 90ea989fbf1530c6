"""TRL's DPOTrainer as our recipes use it, and one that lets a row's own column have its say in the loss."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from adapters.training.recipes.setup import Row, Setup


class PairTrainer(DPOTrainer):  # type: ignore[misc, unused-ignore]
    """DPO that gets one pair at a time: TRL averages a batch's losses, and here each pair's is ours to change.

    TRL drops a row's further columns on three ways, all of them overridden: the columns it keeps, the collator, and the
    loss. Subclasses name their ``column`` and say in ``pair_loss`` what its number does.
    """

    column = ""
    _signature_columns: Any

    def __init__(self, **parts: Any) -> None:
        pad = parts["processing_class"].pad_token_id
        super().__init__(data_collator=_Collator(pad_token_id=pad, column=self.column), **parts)

    def pair_loss(self, loss: Callable[[], Tensor], value: float) -> Tensor:
        """The loss of a pair whose ``column`` is ``value``; ``loss()`` is TRL's, a scalar."""
        raise NotImplementedError

    def _set_signature_columns_if_needed(self) -> None:
        trl: Any = super()
        trl._set_signature_columns_if_needed()
        if self.column not in self._signature_columns:
            self._signature_columns = [*self._signature_columns, self.column]

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Tensor:
        value = inputs.pop(self.column)
        compute: Any = super()._compute_loss
        return self.pair_loss(lambda: compute(model, inputs, return_outputs), float(value.item()))


class _Collator(DataCollatorForPreference):  # type: ignore[misc, unused-ignore]
    """TRL's batches, and a row's ``column`` with them."""

    def __init__(self, pad_token_id: int, column: str) -> None:
        super().__init__(pad_token_id=pad_token_id)
        self.column = column

    def torch_call(self, examples: list[Row]) -> dict[str, Any]:
        return {**super().torch_call(examples), self.column: torch.tensor([float(e[self.column]) for e in examples])}


def build(kind: type[DPOTrainer], setup: Setup, pairs: Sequence[Row], **config: Any) -> Any:
    """A trainer of whole pairs: TRL would cut or drop what is longer than 1,024 tokens without a word."""
    alone = issubclass(kind, PairTrainer)
    arguments = {
        "per_device_train_batch_size": 1 if alone else setup.batch_size,
        "gradient_accumulation_steps": setup.batch_size if alone else 1,
        "beta": setup.objective.beta,
        "f_divergence_type": setup.objective.divergence,
        "max_length": None,
        **setup.arguments,
        **config,
    }
    return kind(train_dataset=Dataset.from_list(list(pairs)), args=DPOConfig(**arguments), **setup.parts())
