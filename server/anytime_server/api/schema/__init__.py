"""Request fields that several dialects share: messages, budgets, tools, sampling."""
