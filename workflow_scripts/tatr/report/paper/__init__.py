"""The tables of the paper (arXiv 2501.15065) as data, and which rows of a table here they are to be compared with."""
