"""What is fal's but for the videos: its queue, results, webhooks and storage."""
