"""Ollama, played: the command line, the directories and the HTTP API of Ollama 0.32, with answers known in advance.

It goes into the lab's release archive as one executable file (a zip application), and runs on lab hosts only, on Python
3.10 or newer. Shapes, statuses and texts follow recordings of a real Ollama 0.32.15. What it generates is one sentence;
what it embeds is noise that follows from the text.

Reading order: names, gguf, store (what is on disk), pull, loaded (what is in memory), answers, requests, api, server,
settings, cli.
"""
