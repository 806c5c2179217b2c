"""Everything of fal: its queue, results, webhooks, storage and CDN."""
