"""Alembic's environment, which Alembic executes itself.

A SQLite file is opened here. For PostgreSQL only the statements are generated, because Alembic would need a driver
other than the one of this program, which then sends them.
"""

from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool


def generate_statements() -> None:
    context.configure(dialect_name="postgresql", output_buffer=context.config.output_buffer, transactional_ddl=False)
    with context.begin_transaction():
        context.run_migrations()


def run_on_sqlite() -> None:
    engine = create_engine(
        f"sqlite:///{context.config.attributes['sqlite_path']}",
        poolclass=NullPool,
        # Otherwise the driver would commit before each DDL statement, and a crash would leave half a migration.
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


if context.is_offline_mode():
    generate_statements()
else:
    run_on_sqlite()
