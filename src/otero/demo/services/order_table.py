"""The order service's database: SQLite beside the demo, or PostgreSQL when its URL is given."""

import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    event,
    func,
    insert,
    make_url,
    select,
    text,
    update,
)
from sqlalchemy.engine import Row
from sqlalchemy.exc import OperationalError

from otero.demo import faults
from otero.demo.services.names import PRICES
from otero_sdk import metrics

POOL_SIZE: Final = 5
LOCK_WAIT_S: Final = 1
KEPT_ORDERS: Final = 5000

QUERY_SECONDS = metrics.histogram("db_query_duration_seconds", "Time of database work.", ["operation"])

_metadata = MetaData()
products = Table(
    "otero_demo_products",
    _metadata,
    Column("name", String(40), primary_key=True),
    Column("price", Float, nullable=False),
    Column("stock", Integer, nullable=False),
)
orders = Table(
    "otero_demo_orders",
    _metadata,
    Column("number", Integer, primary_key=True),
    Column("buyer", String(40), nullable=False, index=True),
    Column("product", String(40), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("total", Float, nullable=False),
    Column("paid", Integer, nullable=False),
)


class OrderTable:
    """Products and orders, behind a small pool of connections."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        self.slow = False
        """Whether each query of orders is a slow one."""
        _metadata.create_all(self.engine)
        with self.engine.begin() as connection:
            known = set(connection.scalars(select(products.c.name)))
            for name, price in PRICES.items():
                if name not in known:
                    connection.execute(insert(products).values(name=name, price=price, stock=100))
        pool: Any = self.engine.pool
        metrics.gauge("db_pool_connections", "Connections that the pool may have.").set(POOL_SIZE)
        metrics.gauge("db_pool_connections_in_use", "Connections that are in use.").set_function(
            pool.checkedout
        )

    def products(self) -> Sequence[Row[Any]]:
        with self._work("products") as connection:
            return connection.execute(select(products).order_by(products.c.name)).all()

    def product(self, name: str) -> Row[Any] | None:
        with self._work("product") as connection:
            return connection.execute(select(products).where(products.c.name == name)).first()

    def order(self, buyer: str, product: str, quantity: int, total: float) -> int:
        """The number of the new order. Stock that runs out is filled up."""
        with self._work("order") as connection:
            self._be_slow(connection)
            connection.execute(
                update(products).where(products.c.name == product).values(stock=products.c.stock - quantity)
            )
            connection.execute(
                update(products).where(products.c.name == product, products.c.stock < 10).values(stock=100)
            )
            made = connection.execute(
                insert(orders).values(buyer=buyer, product=product, quantity=quantity, total=total, paid=0)
            )
            number: int = made.inserted_primary_key[0] if made.inserted_primary_key else 0
            if number % 100 == 0:
                connection.execute(delete(orders).where(orders.c.number <= number - KEPT_ORDERS))
            return number

    def of_buyer(self, buyer: str) -> Sequence[Row[Any]]:
        """The latest orders of somebody."""
        with self._work("orders") as connection:
            self._be_slow(connection)
            latest = select(orders).where(orders.c.buyer == buyer).order_by(orders.c.number.desc()).limit(20)
            return connection.execute(latest).all()

    def pay(self, buyer: str, number: int) -> float | None:
        """The sum that was paid; None when there is no such order of theirs that is open."""
        with self._work("payment") as connection:
            self._be_slow(connection)
            mine = (orders.c.number == number) & (orders.c.buyer == buyer) & (orders.c.paid == 0)
            total = connection.scalar(select(orders.c.total).where(mine))
            if total is not None:
                connection.execute(update(orders).where(mine).values(paid=1))
            return total

    def ask(self) -> None:
        """Read from a table. Raises when the database cannot."""
        with self.engine.connect() as connection:
            connection.execute(select(func.count()).select_from(products))

    def hold_lock(self, stop: threading.Event) -> None:
        """Keep everybody out until `stop` is set, on a connection of our own."""
        blocker = sqlalchemy.create_engine(self.engine.url, connect_args={})
        try:
            with blocker.connect() as connection:
                if connection.dialect.name == "sqlite":
                    _until_it_works(connection, "BEGIN EXCLUSIVE", stop)
                else:
                    connection.execute(
                        text(f"LOCK TABLE {products.name}, {orders.name} IN ACCESS EXCLUSIVE MODE")
                    )
                stop.wait()
                connection.rollback()
        finally:
            blocker.dispose()

    @contextmanager
    def _work(self, operation: str) -> Generator[Connection]:
        start_s = time.perf_counter()
        try:
            with self.engine.begin() as connection:
                yield connection
        finally:
            QUERY_SECONDS.labels(operation).observe(time.perf_counter() - start_s)

    def _be_slow(self, connection: Connection) -> None:
        if self.slow:
            connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": faults.SLOW_QUERY_S})


def _until_it_works(connection: Connection, statement: str, stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            connection.exec_driver_sql(statement)
        except OperationalError:
            continue  # others are at work: it waited for its turn
        return


def _engine(url: str) -> Engine:
    # Looked up in the module: there the SDK has put the one whose statements become spans.
    parsed = make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    sqlite = parsed.get_backend_name() == "sqlite"
    engine = sqlalchemy.create_engine(
        parsed,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=2,
        connect_args={"timeout": LOCK_WAIT_S}
        if sqlite
        else {"options": f"-c lock_timeout={LOCK_WAIT_S * 1000}"},
    )
    if sqlite:
        event.listen(engine, "connect", _like_postgres)
    return engine


def _like_postgres(connection: Any, _record: object) -> None:
    """SQLite without its wait for the disk, and with PostgreSQL's way to be slow."""
    connection.execute("PRAGMA synchronous=OFF")
    connection.create_function("pg_sleep", 1, time.sleep)
