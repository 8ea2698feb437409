"""Ollama's side of the translation: routes, requests, answers, names and times of `/api/*`."""
