"""A version's files: named, checked, published, fetched, cached."""
