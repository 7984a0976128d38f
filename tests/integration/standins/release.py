"""Prove that migrations can reach the database: count the starts in a table."""

import os

import psycopg

with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
    connection.execute("CREATE TABLE IF NOT EXISTS starts (at timestamptz NOT NULL DEFAULT now())")
    connection.execute("INSERT INTO starts DEFAULT VALUES")
    print("starts:", connection.execute("SELECT count(*) FROM starts").fetchone()[0])
