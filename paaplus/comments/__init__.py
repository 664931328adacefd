"""What users write about pictures, as polarity per attribute. Lexicons load with the first comment."""

from __future__ import annotations

from paaplus.comments.opinion import Analyser, Opinion
from paaplus.comments.plugins import open_analyser

__all__ = ["Analyser", "Opinion", "open_analyser"]
