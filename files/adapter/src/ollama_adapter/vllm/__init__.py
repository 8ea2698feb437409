"""vLLM's side of the translation: requests to it, its answers and its refusals."""
