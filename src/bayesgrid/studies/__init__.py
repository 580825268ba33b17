"""The studies, one folder each, with the same rooms: ``spec.py``, methods or agents, ``run.py``."""
