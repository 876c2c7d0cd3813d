"""The search spaces that come with the package, as TOML files."""
