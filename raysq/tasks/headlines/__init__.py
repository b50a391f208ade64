"""The generated articles and headlines behind the task ``demo-headline``.

An event is drawn once (``business.py``, ``world.py``, ``sport.py``, with the names of ``names.py``); its
templates (``template.py``) say it as the long first sentence of an article and, several times over, as a
headline.
"""
