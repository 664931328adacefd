"""Names of the topics; a Kafka log prefixes them with its namespace (`paaplus.feedback`)."""

from __future__ import annotations

FEEDBACK = "feedback"
"""What users say; keyed by user_id, so that one user's events keep their order."""

ITEMS = "items"
"""What there is to rate; keyed by item_id."""
