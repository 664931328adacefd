"""Event logs (SQLite, JSONL, Kafka), ingest into the store, and experiences for learning."""
