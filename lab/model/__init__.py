"""Write a miniature Llama checkpoint whose every answer is known in advance.

The model is a real one-layer Llama that any implementation can load. Attention output and MLP output are zero, so the
last hidden state is the embedding of the last token and the next token is a function of that token alone: `lm_head`
holds a transition table. Fixed chains of tokens spell fixed answers; any token outside a chain leads to the first word
of the plain chain (or, where a grammar forbids that word, to the first piece of the JSON chain).

Prompts are tokenised by character (by UTF-8 byte where a character has no token); whole words exist for answers only.
The variants differ in the chat template; `embed` is the same body without the language-model head, with mean pooling.

Needs numpy, safetensors and tokenizers. Writes the same bytes on every run.
"""
