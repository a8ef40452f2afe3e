"""A web page to paint with in a browser; by default only this machine can open it."""
