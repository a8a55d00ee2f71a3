"""What each stage does, as plain functions on small frozen artifacts."""
