"""Celery's configuration, nothing else.

Messages are acknowledged at once (`acks_late=False`): the database decides about reruns, so a lost or doubled message
changes nothing. JSON only, no result backend.
"""

from celery import Celery

from app.settings import settings

celery = Celery("fettle", broker=settings().broker, include=["worker.tasks"])
celery.conf.update(
    task_serializer="json",
    accept_content=["json"],
    result_accept_content=["json"],
    task_ignore_result=True,
    task_acks_late=False,
    task_create_missing_queues=True,
    task_default_queue="gpu",
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_send_task_events=False,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 30 * 86_400, "socket_connect_timeout": 5},
)
