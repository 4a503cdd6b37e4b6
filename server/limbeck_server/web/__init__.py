"""A read-only page for people, and metrics for machines, on one HTTP port."""
