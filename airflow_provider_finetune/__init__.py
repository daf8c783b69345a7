"""Fine-tuning jobs as a first-class part of an Apache Airflow data platform."""

__version__ = "0.1.0"
