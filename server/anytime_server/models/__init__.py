"""Pretrained models that `anytime models get` fetches from a package index and converts for serving."""
