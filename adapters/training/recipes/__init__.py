"""The trainers, one readable recipe each on TRL, and what can be added to them.

A recipe is a module with ``RATES`` (the learning rate of a small model, and of any other), ``SEQUENCES`` (how many an
example makes), ``examples`` (what it makes of the rows), ``lacks`` (why those are too few, or None) and ``trainer``.

A row of DIR/train.jsonl has ``prompt`` and ``completion``; where the user changed the draft also ``rejected``, which is
the draft, and ``cost``, its normalised edit distance; where the user stated other values elsewhere, ``contrast``, the
prompt with those; where other preferences applied elsewhere, ``corrupted``, the prompt with those. All but the cost are
lists of messages. A row with a ``label`` is a thumb: its completion is right or wrong, and nothing else is known. KTO
alone learns from these; the other recipes leave them out. A row with ``ranked`` is of a ranking: its completion is
better than ``rejected``, and may be wrong; DPO alone learns from it.

These modules import TRL: only the trainer's own process imports them.
"""
