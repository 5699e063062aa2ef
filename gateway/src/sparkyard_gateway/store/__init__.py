"""What must survive the gateway: sessions, statements and events, in SQLite or PostgreSQL. Only here is SQLAlchemy."""

# The tables of every module are part of one description of the database, whoever asks for it first.
from sparkyard_gateway.store import batch_models as batch_models
from sparkyard_gateway.store import models as models
