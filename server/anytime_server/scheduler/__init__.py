"""Admission and order of requests: compilation, engine slots, load shedding, warm-up."""
