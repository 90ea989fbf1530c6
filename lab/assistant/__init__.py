"""The default model: everyday texts made by program, a LoRA trained on them, and what it is worth."""
