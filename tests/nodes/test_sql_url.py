"""URLs of databases."""

import pytest

from flowrunner.nodes.sql_url import database_of
from flowrunner.plugin import SqlDatabase


def test_a_url_says_all_of_a_database() -> None:
    url = "postgres://ada:p%40ss%2Fw%23rd@db.example.com:6543/my%20shop?sslmode=require&channel_binding=require"

    found = database_of(f"{url}&application_name=shop&connect_timeout=10&sslrootcert=system")

    assert found == SqlDatabase(
        host="db.example.com",
        port=6543,
        user="ada",
        database="my shop",
        password="p@ss/w#rd",
        security="encrypted",
        requires_channel_binding=True,
        application_name="shop",
    )


def test_parameters_are_decoded_once() -> None:
    assert database_of("postgresql://ada@db?application_name=a%252Fb").application_name == "a%2Fb"


def test_what_a_url_leaves_out_is_safe() -> None:
    assert database_of("postgresql://ada@[2001:db8::1]") == SqlDatabase(
        host="2001:db8::1", port=5432, user="ada", database="ada", security="verified"
    )


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://ada:hidden@db/shop", "must begin with postgresql://"),
        ("db.example.com", "must begin with postgresql://"),
        ("postgresql://ada:hid/den@db/shop", "percent sign"),
        ("postgresql://ada:hid#den@db/shop", "percent sign"),
        ("postgresql://ada@db/shop#hidden", "%23"),
        ("postgresql://ada:hid den@db/shop", "no blanks"),
        ("postgresql://ada:hidden\n@db/shop", "no blanks"),
        ("postgresql://ada:hid?den@db/shop", "must"),
        ("postgresql://ada:hid[den@db/shop", "percent sign"),
        ("postgresql://ada:hidden@db:99999/shop", "percent sign"),
        ("postgresql://ada:hidden@db:0/shop", "a port from 1 to 65535"),
        ("postgresql://ada:hidden@/shop", "must name one server"),
        ("postgresql:///shop?host=/tmp&user=hidden", "must name one server"),
        ("postgresql://ada:hidden@%2Ftmp/shop", "must name one server"),
        ("postgresql://ada:hidden@a,b/shop", "must name one server"),
        ("postgresql://db/shop", "must name a user"),
        ("postgresql://ada%00:hidden@db/shop", "without NUL"),
        ("postgresql://ada:hidden\ud800@db/shop", "as Unicode text"),
        ("postgresql://ada:hidden@db/shop?sslmode=prefer", "must not have 'sslmode=prefer'"),
        ("postgresql://ada:hidden@db/shop?sslmode=verify-ca", "must have an 'sslmode' of verify-full"),
        (f"postgresql://ada@db/shop?sslmode={'hidden' * 11}", "not a text of 66 characters"),
        ("postgresql://ada:hidden@db/shop?options=-csearch_path%3Da", "no other parameters"),
        ("postgresql://ada:hidden@db/shop?service=prod", "no other parameters"),
        ("postgresql://ada:hidden@db/shop?passfile=/etc/passwd", "no other parameters"),
        ("postgresql://ada:hidden@db/shop?sslrootcert=/etc/passwd", "files of this machine are not read"),
        ("postgresql://ada:hidden@db/shop?sslmode=require&sslmode=disable", "the parameter 'sslmode' once"),
        ("postgresql://ada:hidden@db/shop?channel_binding=maybe", "'channel_binding'"),
        ("postgresql://ada:hidden@db/shop?" + "&".join(f"a{n}=1" for n in range(30)), "at most 20 parameters"),
    ],
)
def test_a_url_that_is_wrong_is_told_without_its_password(url: str, said: str) -> None:
    with pytest.raises(ValueError, match="must") as raised:
        database_of(url)

    assert said in str(raised.value)
    assert "hid" not in str(raised.value)
