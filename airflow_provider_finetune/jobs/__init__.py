"""The rules of a fine-tuning job: pure decisions, with neither Airflow, nor the SDK, nor a clock of their own."""
