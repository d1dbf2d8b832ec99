"""Compilation, admission and order of requests: limits, queue, leases, slots, load shedding, warm-up."""
