"""The tables of the paper (arXiv 2501.15065) as data, and which rows of our tables they are compared with."""
