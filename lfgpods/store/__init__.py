"""The database: the last known state of each pod, and a record of each change. An SQLite file or PostgreSQL.

The cluster is the truth: `sync` can rebuild every pod row. No row holds a secret. Knows nothing of kubectl.
"""
