"""Stand-ins for what a lab without a GPU cannot have. They go onto lab hosts only; the product never uses them."""
