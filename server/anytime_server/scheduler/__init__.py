"""Admission and order of requests: compilation, queue limits, leases, slots, load shedding, warm-up."""
