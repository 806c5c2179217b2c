"""The drop form: its fields, its files, and what it would make."""
