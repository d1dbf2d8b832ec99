"""Token ids to text and back: tokenizer, detokenizer, the text of an answer, tool calls."""
