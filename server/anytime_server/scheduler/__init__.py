"""Admission and order of requests: compilation, leases, engine slots, load shedding, warm-up."""
