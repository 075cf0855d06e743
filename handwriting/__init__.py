"""What goes beyond the report: somebody's own digits."""
