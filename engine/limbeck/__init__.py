"""limbeck: dataset distillation on exported, optimized engines."""

__version__ = "0.1.0"
