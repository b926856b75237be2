"""Asks a server all that a backup wants to know beforehand, in two round trips."""

from __future__ import annotations

import psycopg

from app.ports.source import Survey
from app.postgres.dump.undumped import described, undumped_question
from app.postgres.questions import ask, combined
from app.postgres.server_facts import facts_question, left_out_question, unreadable_question


def survey(connection: psycopg.Connection) -> Survey:
    """The answers; each of the tables of extensions takes round trips of its own."""
    questions = facts_question(), unreadable_question(), left_out_question(), undumped_question()
    facts, unreadable, left_out, undumped = ask(connection, combined(*questions))
    sentences = described(connection, undumped)
    return Survey(facts=facts, unreadable=unreadable, left_out=left_out, undumped=sentences)
