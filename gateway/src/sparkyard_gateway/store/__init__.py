"""What must survive the gateway: sessions, statements and events, in SQLite or PostgreSQL. Only here is SQLAlchemy."""
