"""Audits: pure measurements of a language model, and the vocabulary everyone shares."""
