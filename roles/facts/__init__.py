"""What is true on a machine, for more than one role: facts of pyinfra as typed values, and the programs that gather them.

survey.py      the host itself, its listeners, and what its mirrors answer
evidence.py    platform, cards, driver, packages, as raw texts and as values
"""
