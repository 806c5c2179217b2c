"""What the world sees of a job: receipts, events, event webhooks."""
