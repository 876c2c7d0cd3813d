"""The report's templates and style sheet, read as package data by `study.report` and `study.compare`."""
