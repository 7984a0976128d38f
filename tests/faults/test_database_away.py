"""PostgreSQL is away: every request is answered, and nothing that was to be stored is in the log."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import SQLAlchemyError

from autostack.accounts.models import User
from autostack.extensions import db

AWAY = "postgresql://nobody@127.0.0.1:1/none"


@pytest.fixture
def client(browser, make_app):
    """Alice's browser, at an application whose PostgreSQL does not answer."""
    client = make_app(database_url=AWAY).test_client()
    with browser.client.session_transaction() as hers, client.session_transaction() as kept:
        kept.update(hers)
    return client


@pytest.mark.parametrize("path", ["/deployments", "/projects/new", "/deploy"])
def test_a_page_is_a_503_that_says_why(client, path):
    answered = client.get(path)
    assert (answered.status_code, answered.mimetype) == (503, "text/html")
    assert "The database does not answer" in answered.text


def test_a_fragment_is_a_503_too(client):
    answered = client.get("/deployments", headers={"HX-Request": "true"})
    assert answered.status_code == 503
    assert "<html" not in answered.text


def test_a_page_that_is_nowhere_is_a_404_all_the_same(client):
    assert client.get("/nowhere").status_code == 404


def test_an_error_of_the_database_does_not_repeat_what_was_to_be_stored(app):
    with app.app_context():
        db.session.add(User(name="x" * 300, email="e@example.com", password_hash="$2b$secret"))
        with pytest.raises(SQLAlchemyError) as refused:
            db.session.commit()
        assert "$2b$secret" not in str(refused.value)
