"""How Alembic reaches the database; it runs this file itself."""

from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

engine = create_engine(
    f"sqlite:///{context.config.attributes['sqlite_path']}",
    poolclass=NullPool,
    # The driver would otherwise commit before each DDL statement, and a crash in between would
    # leave half a migration.
    connect_args={"isolation_level": None},
)
with engine.connect() as connection:
    connection.exec_driver_sql("PRAGMA synchronous = FULL")
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    context.configure(connection=connection, transactional_ddl=True, transaction_per_migration=False)
    with context.begin_transaction():
        context.run_migrations()
    driver = connection.connection.driver_connection
    if driver is not None and driver.in_transaction:
        connection.exec_driver_sql("COMMIT")
engine.dispose()
