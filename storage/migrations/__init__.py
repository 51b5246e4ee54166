"""Changes of the schema, one numbered file each, applied in order by `migrate` (storage/migrating.py)."""
