"""The paired benchmark: the adapter beside other ways to put an HTTP front before vLLM. See README.md."""
