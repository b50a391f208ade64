"""raysq: sequence models trained with task rewards on top of maximum likelihood, on Ray."""

__version__ = "0.1.0"
