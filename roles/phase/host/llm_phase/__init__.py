"""llm-phase: what serves 11434 on a host, and the switch between its phases. Runs on the host with its own Python, 3.9 or newer."""
