"""Parameters as matrices: which ones are, and the linear algebra that methods on them share."""
