"""The progress feed: to whom it hands events on, and how many it keeps."""

from __future__ import annotations

from cutmv.progress import ProgressEvent, ProgressFeed


def test_a_feed_forgets_whom_nobody_watches() -> None:
    feed = ProgressFeed()
    with feed.subscribe("job") as subscriber:
        for percent in range(1000):
            feed.publish(ProgressEvent("step", "job", "cutting", float(percent)))
        assert [taken.percent for taken in subscriber.take(1.0)] == [999.0]

    feed.publish(ProgressEvent("step", "job"))
    assert subscriber.take(0.0) == []
