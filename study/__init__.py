"""The study platform: search, confirm, contrast and report over `sermtl`'s training runs."""
