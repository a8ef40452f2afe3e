"""The page: paint in a browser, on this machine only."""
