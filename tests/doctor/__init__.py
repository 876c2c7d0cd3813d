"""The doctor, on a small finished study that is spoilt."""
