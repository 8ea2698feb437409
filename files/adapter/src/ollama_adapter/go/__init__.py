"""Go's ways with JSON, numbers and templates: what Ollama's clients see of the language its server is written in."""
