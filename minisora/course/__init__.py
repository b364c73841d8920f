"""Floor 9, the course: notebooks that build the package, held against it word for word."""
