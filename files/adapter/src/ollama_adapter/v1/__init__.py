"""`/v1/*`: OpenAI's and Anthropic's requests and answers, around the same generation as `/api/*`."""
