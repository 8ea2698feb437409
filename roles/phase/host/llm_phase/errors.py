"""How a command of llm-phase ends early."""


class Refusal(Exception):
    """Nothing was changed; the text says why and what to do."""


class Failure(Exception):
    """A step failed; the text says what was seen."""
