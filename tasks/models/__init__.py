"""Loading, scoring and generating: everything that runs a language model."""
