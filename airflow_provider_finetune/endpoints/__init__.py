"""What is known of the endpoints that serve the protocol: what each cannot do, keeps, and calls otherwise.

Pure data, chosen by the host of a connection's base URL or named in its extra. An endpoint that is not known is taken
to be able to do everything; what it does is then learned from its answers.
"""

from __future__ import annotations

from airflow_provider_finetune.endpoints.known import ENDPOINTS, Endpoint, endpoint_for

__all__ = ["ENDPOINTS", "Endpoint", "endpoint_for"]
