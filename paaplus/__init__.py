"""paaplus: turns users' feedback into better personal models of aesthetics, continuously."""

__version__ = "0.1.0"
