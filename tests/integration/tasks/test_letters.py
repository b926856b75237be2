"""What is read from the broker: a bad message is rejected, and a connection that is gone is no message."""

from __future__ import annotations

import pytest
from kombu import Connection
from redis import exceptions
from structlog.testing import capture_logs

from tasks.letters import Transport


def test_a_connection_that_is_gone_is_told_from_a_bad_message(broker_url: str) -> None:
    with Connection(broker_url, transport=Transport) as broker, capture_logs() as logs:
        channel = broker.channel()
        consumer = broker.Consumer(broker.SimpleQueue("backup", channel=channel).queue, channel=channel)
        consumer.consume()
        channel.client.connection = channel.client.connection_pool.get_connection()
        channel.client.lpush("backup", "{{{ garbage", '{"__type__": "datetime", "__value__": null}')
        for _ in range(2):
            channel._brpop_start()
            assert channel._brpop_read() is True
        rejected = [event["reason"] for event in logs if event["event"] == "backup message rejected"]
        assert rejected == ["it is no JSON: JSONDecodeError", "it is no JSON: TypeError"]
        channel._brpop_start()
        channel.client.connection.disconnect()
        channel.client.connection = None  # as it is after a failure, until the next command
        with pytest.raises(exceptions.ConnectionError) as lost:
            channel._brpop_read()
        assert isinstance(lost.value, channel.connection_errors), "then Celery connects again"
        assert isinstance(lost.value.__cause__, AttributeError)
        assert len([event for event in logs if event["event"] == "backup message rejected"]) == 2
