"""A Celery application for tests with real workers, whose broker is a folder."""

import os

from celery import Celery

from otero_sdk import instrument

folder = os.environ["BROKER_FOLDER"]
app = Celery(
    "jobs",
    broker="filesystem://",
    broker_transport_options={"data_folder_in": folder, "data_folder_out": folder, "control_folder": folder},
)
app.conf.worker_hijack_root_logger = False
instrument(app, service="jobs", metrics_port=int(os.environ.get("METRICS_PORT", "0")) or None)


@app.task
def pack(order: int) -> int:
    if order % 5 == 0:
        raise ValueError("unlucky")
    return order
