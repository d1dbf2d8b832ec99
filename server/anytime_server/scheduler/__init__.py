"""Who runs when: admission, compilation of requests, engine slots, load shedding, warm-up."""
