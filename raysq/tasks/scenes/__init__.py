"""The generated pictures and captions behind the task ``demo-captioning``.

A scene is drawn once as a meaning (``scene.py``), painted (``paint.py``), named by what is in it
(``labels.py``), and said in English in five ways (``captions.py``); ``corpus.py`` writes all of it in COCO's
format, where it is read like any other set of photographs.
"""
