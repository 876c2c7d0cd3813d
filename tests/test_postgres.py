"""A study's stores on a real PostgreSQL server: written, continued, lost and found, and every way it can be refused."""

from tests.postgres import Postgres


def test_the_server_of_these_tests_is_a_real_one(postgres: Postgres) -> None:
    url = postgres.database()
    name = url.rpartition("/")[2]
    postgres.execute("CREATE TABLE t (x int)", name)
    postgres.execute("INSERT INTO t VALUES (7)", name)
    postgres.stop()
    postgres.start()
    assert postgres.execute("SELECT x FROM t", name) == [(7,)]
