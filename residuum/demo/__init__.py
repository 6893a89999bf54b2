"""The page of ``residuum demo``: a local web server, and what it computes."""
