"""Translation: where its text comes from."""

from __future__ import annotations

from pathlib import Path

from raysq.data.corpus import GeneratedText, ParallelText
from raysq.data.prepare import PrepareSettings, file_text, task_defaults


def translation_text(settings: PrepareSettings) -> ParallelText:
    """The text that the settings ask for: the demo's, or files.

    Raises:
        UserError: a file is missing.
    """
    return demo_text() if settings.task == "demo" else file_text(settings)


def demo_settings(output_dir: Path) -> PrepareSettings:
    """How the demo's text is prepared when nothing else is said."""
    return PrepareSettings.model_validate(
        {"task": "demo", "output_dir": output_dir, **task_defaults({"task": "demo"})}
    )


def demo_text() -> GeneratedText:
    """The generated German-English text of the task demo, tokenised and lower-cased."""
    from raysq.tasks.grammar import generate

    splits = generate()
    return GeneratedText(
        "raysq.tasks.grammar", {"train": splits["train"], "dev": splits["dev"], "test": splits["test"]}
    )
