"""Temporary (to be replaced)."""

from paaplus.events.codec import (
    check_time,
    decode,
    decode_feedback,
    decode_item,
    encode,
    partition_key,
)
from paaplus.events.types import *  # noqa: F403
from paaplus.events.types import ATTRIBUTES, Event, FeedbackEvent, kind_of
