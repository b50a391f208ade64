"""The synchronous German-English grammar behind the ``demo`` corpus.

A sentence is drawn once as a meaning (``sentences.py`` and ``draw.py``, from ``nouns.py``, ``verbs.py`` and
``phrases.py``), said in German without further choice (``german.py``) and in English with many
(``english.py``, ``wording.py``).
"""
