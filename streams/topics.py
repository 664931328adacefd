"""Topics, in one place."""

FEEDBACK = "feedback"
ITEMS = "items"
