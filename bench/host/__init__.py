"""`python -m bench.host`: what a host's servers give their clients, measured from outside. Needs no pyinfra."""
