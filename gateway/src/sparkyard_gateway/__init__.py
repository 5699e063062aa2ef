"""Sparkyard's gateway: one Livy endpoint for many tenants, before Spark drivers that dial out to it."""
