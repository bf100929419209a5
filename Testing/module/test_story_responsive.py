"""How long the panel keeps the event loop waiting while a job runs."""

from opened import home, opened, tinyPacks  # noqa: F401
from slicerStandIn.testing.eventLoop import measureBlocking, processEvents, waitUntil


def test_while_a_job_runs_the_panel_does_not_keep_the_user_waiting(opened, record_property):  # noqa: F811
    opened.press(opened.ui.startDemoButton)
    opened.generate()
    opened.ui.livePreviewBox.checked = False
    processEvents(0.2)
    opened.ui.generateButton.click()
    with measureBlocking() as blocking:
        waitUntil(lambda: opened.client.fraction > 0.9 or not opened.client.state.busy, 90, "the end of sampling")
    waitUntil(lambda: not opened.client.state.busy, 90, "the end of the job")
    record_property("longest_ms", round(1000 * blocking.longest))
    # 50 ms is what a user notices; a test machine that is busy with others stretches it.
    assert blocking.longest < 0.25, f"{1000 * blocking.longest:.0f} ms"
    print(f"longest {1000 * blocking.longest:.0f} ms, together beyond 50 ms {1000 * blocking.total:.0f} ms")
